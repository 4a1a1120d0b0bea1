"""What holds for every call of a model, on every front of both tiers: how long it may take, and which parameters it may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from inferencehub.core.values.errors import bad_input, shown
from inferencehub.core.values.requests import InferRequest, Parameter

TIMEOUT = "timeout"  # microseconds
# Parameters of the protocol that ask a server for what we do not do.
RESERVED = frozenset(
    ("sequence_id", "sequence_start", "sequence_end", "priority", "binary_data_output", "headers")
)


class TimeLimits(NamedTuple):
    """How long a call may take, in seconds: one that names no limit, and any."""

    default_s: float
    max_s: float

    def of(self, own_s: float | None, timeout_us: object) -> float:
        """The seconds that a call may take.

        Args:
            own_s: the limit that its front was given (a header, a gRPC deadline); None for none.
            timeout_us: its parameter `timeout`, in microseconds; None for none, and 0 says the same.

        Raises:
            HubError: BAD_INPUT where the parameter is no whole number from 0.
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
    """A request as its model gets it, so that it may merge with others, and its parameter `timeout`.

    Raises:
        HubError: BAD_INPUT where it has a parameter that no model may have.
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
    """Refuse parameters that no model may have.

    Args:
        parameters: a request's.
        prefixes: beginnings of names that this front keeps for servers.

    Raises:
        HubError: BAD_INPUT naming the first one.
    """
    found = [name for name in parameters if name in RESERVED or name.startswith(prefixes)]
    if found:
        raise bad_input(
            f"parameter '{min(found)[:80]}' is reserved, expected 'timeout' or parameters of the model"
        )
