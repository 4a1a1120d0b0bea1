"""What holds for every call, on every front of both tiers."""

from __future__ import annotations

import pytest

from inferencehub.core.values.call_rules import RESERVED, TimeLimits, refuse_reserved, without_timeout
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, Parameter

LIMITS = TimeLimits(default_s=30.0, max_s=300.0)


@pytest.mark.parametrize(
    ("own_s", "timeout_us", "seconds"),
    [
        (None, None, 30.0),
        (None, 0, 30.0),
        (None, 2_000_000, 2.0),
        (None, 10**12, 300.0),
        (5.0, None, 5.0),
        (5.0, 0, 5.0),
        (5.0, 2_000_000, 2.0),
        (2.0, 5_000_000, 2.0),
        (1000.0, None, 300.0),
        (1000.0, 10**12, 300.0),
    ],
)
def test_the_shortest_limit_holds_and_none_is_over_the_longest(
    own_s: float | None, timeout_us: object, seconds: float
) -> None:
    assert LIMITS.of(own_s, timeout_us) == seconds


@pytest.mark.parametrize("timeout", [-1, 1.5, True, "5", "", 10**-3])
def test_a_timeout_that_is_no_whole_number_is_refused(timeout: object) -> None:
    with pytest.raises(
        HubError, match="'timeout': expected microseconds, a whole number from 0, got"
    ) as caught:
        LIMITS.of(None, timeout)
    assert caught.value.kind is Kind.BAD_INPUT


def call(**parameters: Parameter) -> InferRequest:
    """A request with parameters."""
    return InferRequest("m", "", (), (), parameters)


def test_requests_that_differ_in_their_timeout_alone_may_merge() -> None:
    one, timeout = without_timeout(call(timeout=5, top_k=3))
    other, none = without_timeout(call(top_k=3))
    assert (one.parameters, timeout, none) == (other.parameters, 5, None)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_parameters_that_no_model_may_have_are_refused_by_name(name: str) -> None:
    with pytest.raises(HubError, match=f"parameter '{name}' is reserved"):
        without_timeout(call(**{name: 1, "timeout": 5}))


def test_a_front_may_keep_names_for_servers() -> None:
    refuse_reserved({"hub_x": 1, "top_k": 2})
    with pytest.raises(HubError, match="parameter 'hub_x' is reserved"):
        refuse_reserved({"top_k": 2, "hub_x": 1}, ("hub_",))
