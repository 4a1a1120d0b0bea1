"""The time limit of a call, in both tiers and for every protocol."""

from __future__ import annotations

from typing import NamedTuple

from inferencehub.core.values.errors import bad_input, shown


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
