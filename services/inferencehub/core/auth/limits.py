"""What a caller, a tenant, a model or an address may use, as files say it."""

from __future__ import annotations

from math import ceil
from typing import Annotated, NamedTuple

import msgspec

from inferencehub.core.values.errors import HubError, Kind

Rate = Annotated[float, msgspec.Meta(ge=1e-4, le=1e6)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10**6)]
PerDay = Annotated[int, msgspec.Meta(ge=1, le=10**12)]
Bytes = Annotated[int, msgspec.Meta(ge=1, le=2**40)]


class Limits(NamedTuple):
    """What may be used, over all gateways; None stands for any number.

    Args:
        rate: calls a second.
        burst: calls that may begin at once after a pause, if there is a rate.
        concurrency: calls at a time.
        rows: rows a second.
        rows_burst: rows that may begin at once after a pause, if they are limited.
        body_bytes: bytes of a request's body.
        calls_per_day: calls of models in a day of UTC.
        rows_per_day: rows in a day of UTC.
        daily: whether there is one of these two.
    """

    rate: float | None = None
    burst: int = 1
    concurrency: int | None = None
    rows: float | None = None
    rows_burst: int = 1
    body_bytes: int | None = None
    calls_per_day: int | None = None
    rows_per_day: int | None = None
    daily: bool = False


class LimitReached(HubError):
    """A limit is reached.

    Args:
        detail: one sentence for the caller.
        wait_s: seconds until a call would be accepted.
        policy: the limit's name, such as "key" or "tenant-rows".
        quota: the limit, with its window and its unit, as RateLimit-Policy has them (draft-ietf-httpapi-ratelimit-headers).
    """

    def __init__(self, detail: str, wait_s: float, policy: str, quota: str) -> None:
        super().__init__(Kind.BUSY, detail, max(1, ceil(wait_s)))
        self.policy = policy
        self.quota = quota


class LimitFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The fields of an entry that limit what may be used; see `Limits`. Without a burst, it is that of a second."""

    rate: Rate | None = None
    burst: Count | None = None
    concurrency: Count | None = None
    rows: Rate | None = None
    rows_burst: Count | None = None
    body_bytes: Bytes | None = None
    calls_per_day: PerDay | None = None
    rows_per_day: PerDay | None = None

    def limits(self) -> Limits | None:
        """What may be used; None for no limit."""
        limits = Limits(
            self.rate,
            self.burst or of_a_second(self.rate),
            self.concurrency,
            self.rows,
            self.rows_burst or of_a_second(self.rows),
            self.body_bytes,
            self.calls_per_day,
            self.rows_per_day,
            self.calls_per_day is not None or self.rows_per_day is not None,
        )
        unset = Limits(burst=limits.burst, rows_burst=limits.rows_burst)
        return None if limits == unset else limits

    def check(self, who: str) -> None:
        """Check that the fields go together.

        Raises:
            ValueError: if not; the text says for whom the limits are.
        """
        for burst, rate in (("burst", "rate"), ("rows_burst", "rows")):
            if getattr(self, burst) is not None and getattr(self, rate) is None:
                raise ValueError(f"{who} has a {burst} without {rate}, expected both or none")

    def check_countable(self, who: str) -> None:
        """Check that there is no quota of a day, where there is no store that counts it for all gateways.

        Raises:
            ValueError: if there is one; the text says for whom it is.
        """
        for name in ("calls_per_day", "rows_per_day"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{who} has {name}, which the store of jobs counts for all gateways: expected HUB_JOBS"
                )


def of_a_second(rate: float | None) -> int:
    """The burst where none is set."""
    return max(1, ceil(rate or 1))
