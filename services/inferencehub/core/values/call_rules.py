"""Rules for every call of a model, in both tiers and for every protocol: its time limit and its allowed parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from inferencehub.core.values.errors import bad_input, shown
from inferencehub.core.values.requests import InferRequest, Parameter

TIMEOUT = "timeout"  # microseconds
# Parameters of the protocol that ask for features which this server does not have.
RESERVED = frozenset(
    ("sequence_id", "sequence_start", "sequence_end", "priority", "binary_data_output", "headers")
)


class TimeLimits(NamedTuple):
    """Time limits for calls, in seconds: `default_s` if the call names no limit, `max_s` for every call."""

    default_s: float
    max_s: float

    def of(self, own_s: float | None, timeout_us: object) -> float:
        """How many seconds a call may take: the smallest of all limits that apply.

        Args:
            own_s: the limit that came with the transport (an HTTP header or a gRPC deadline), in seconds; None if there
                was none.
            timeout_us: the request's parameter `timeout`, in microseconds; None or 0 if there is no such limit.

        Raises:
            HubError: BAD_INPUT if `timeout_us` is not a whole number from 0.
        """
        if timeout_us is None:
            return min(self.default_s if own_s is None else own_s, self.max_s)
        if isinstance(timeout_us, bool) or not isinstance(timeout_us, int) or timeout_us < 0:
            raise bad_input(
                f"parameter 'timeout': expected microseconds, a whole number from 0, got {shown(timeout_us)}"
            )
        asked = [limit for limit in (own_s, timeout_us / 1e6 if timeout_us else None) if limit is not None]
        return min([self.max_s, *asked] if asked else [self.max_s, self.default_s])


def without_timeout(request: InferRequest) -> tuple[InferRequest, Parameter | None]:
    """Split a request into the request that the model gets and the parameter `timeout`.

    Requests merge only if their parameters are equal. Without `timeout`, requests with different time limits can merge.

    Returns:
        The request without the parameter `timeout`, and that parameter's value; None if there is none.

    Raises:
        HubError: BAD_INPUT if the request has a reserved parameter.
    """
    parameters = request.parameters
    if not parameters:
        return request, None
    refuse_reserved(parameters)
    if TIMEOUT not in parameters:
        return request, None
    rest = {name: value for name, value in parameters.items() if name != TIMEOUT}
    return replace(request, parameters=rest), parameters[TIMEOUT]


def refuse_reserved(parameters: Mapping[str, Parameter], prefixes: tuple[str, ...] = ()) -> None:
    """Refuse parameters that are reserved and must not reach a model.

    Args:
        parameters: the request's parameters.
        prefixes: parameters whose names begin with one of these are reserved, too.

    Raises:
        HubError: BAD_INPUT that names the first reserved parameter.
    """
    found = [name for name in parameters if name in RESERVED or name.startswith(prefixes)]
    if found:
        raise bad_input(
            f"parameter '{min(found)[:80]}' is reserved, expected 'timeout' or parameters of the model"
        )
