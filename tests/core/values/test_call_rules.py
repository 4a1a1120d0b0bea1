"""What holds for every call, on every front of both tiers."""

from __future__ import annotations

import pytest

from inferencehub.core.values.call_rules import TimeLimits
from inferencehub.core.values.errors import HubError, Kind

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
