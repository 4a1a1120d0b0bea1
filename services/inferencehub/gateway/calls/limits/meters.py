"""What is used of a limit at this gateway: tokens that come at a rate, and calls that run.

Each gateway grants its share, the limit divided by the number of gateways. So no call waits for a store that all share, and
the sum is right as long as calls are spread evenly over the gateways.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import ceil
from time import monotonic
from typing import NamedTuple

from inferencehub.core.auth.limits import LimitReached, Limits

MOST_METERS = 10_000  # of a kind
LOOKED_AT = 100  # meters among which an unused one is looked for


class Bucket:
    """Tokens that come at a rate, up to a burst.

    What is taken may be more than there is. The next ones wait for it, so that a call of many rows is not refused for ever.
    """

    __slots__ = ("_at", "tokens")

    def __init__(self) -> None:
        self.tokens = float("inf")  # cut to the burst when it is first looked at
        self._at = monotonic()

    def wait_s(self, rate: float, burst: float) -> float:
        """The seconds until there is a token; 0.0 if there is one.

        Args:
            rate: tokens that come in a second.
            burst: tokens that there are at most.
        """
        now = monotonic()
        self.tokens = min(burst, self.tokens + (now - self._at) * rate)
        self._at = now
        return 0.0 if self.tokens >= 1.0 else (1.0 - self.tokens) / rate

    def take(self, tokens: int) -> None:
        """Take tokens."""
        self.tokens -= tokens


class Meter:
    """What is used of one limit: `running` calls, and the buckets of calls and rows."""

    __slots__ = ("calls", "rows", "running")

    def __init__(self) -> None:
        self.running = 0
        self.calls = Bucket()
        self.rows = Bucket()


class Metered(NamedTuple):
    """A meter that a call is held against.

    Args:
        kind: whose it is: "key", "tenant", "model" or "address".
        who: the same with its name, for sentences.
        limits: over all gateways.
        meter: of this gateway.
        owner: for metrics: the tenant, and the caller if the limits are theirs alone.
    """

    kind: str
    who: str
    limits: Limits
    meter: Meter
    owner: tuple[str, str] = ("", "")

    def check_call(self, gateways: int) -> None:
        """Check one more call against this gateway's share; nothing is taken.

        Raises:
            LimitReached: if there are too many.
        """
        limits, meter = self.limits, self.meter
        if limits.concurrency is not None and meter.running >= ceil(limits.concurrency / gateways):
            sentence = f"{self.who} has {meter.running} calls running here, which is the most"
            quota = f'q={limits.concurrency};qu="concurrent-requests"'
            raise LimitReached(sentence, 1, f"{self.kind}-concurrency", quota)
        if limits.rate is not None:
            burst = limits.burst
            wait_s = meter.calls.wait_s(limits.rate / gateways, max(1.0, burst / gateways))
            if wait_s:
                sentence = (
                    f"{self.who} {self._may('make')} {limits.rate:g} calls a second, and {burst} at once"
                )
                raise LimitReached(sentence, wait_s, self.kind, quota_of(burst, limits.rate))

    def check_rows(self, gateways: int) -> None:
        """Check whether a call may have rows; nothing is taken.

        Raises:
            LimitReached: if there are too many.
        """
        limits = self.limits
        if limits.rows is not None:
            burst = limits.rows_burst
            wait_s = self.meter.rows.wait_s(limits.rows / gateways, max(1.0, burst / gateways))
            if wait_s:
                sentence = (
                    f"{self.who} {self._may('have')} {limits.rows:g} rows a second, and {burst} at once"
                )
                quota = f'{quota_of(burst, limits.rows)};qu="rows"'
                raise LimitReached(sentence, wait_s, f"{self.kind}-rows", quota)

    def _may(self, verb: str) -> str:
        """What a sentence says of a limit; a model's is that of all who call it."""
        return "takes from all callers together" if self.kind == "model" else f"may {verb}"

    def begin(self) -> None:
        """A call begins."""
        self.meter.running += 1
        if self.limits.rate is not None:
            self.meter.calls.take(1)

    def take_rows(self, rows: int) -> None:
        """The call has so many rows."""
        if self.limits.rows is not None:
            self.meter.rows.take(rows)

    def give_back(self, rows: int) -> None:
        """The call is refused, so it takes no token and not these rows."""
        if self.limits.rate is not None:
            self.meter.calls.take(-1)
        self.take_rows(-rows)

    def ended(self) -> None:
        """The call has ended."""
        self.meter.running -= 1


class Meters:
    """The meters of this gateway, by the kind and the name of what they are for: a reloaded file changes no count.

    Names that callers choose are bounded: beyond `MOST_METERS` of a kind, the one goes that was not asked for longest,
    and what it has counted.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, Meter]] = {}

    def of(self, kind: str, name: str) -> Meter:
        """The meter of a name."""
        meters = self._kinds.setdefault(kind, {})
        meter = meters.pop(name, None)
        if meter is None:
            meter = Meter()
            if len(meters) >= MOST_METERS:
                oldest = list(islice(meters, LOOKED_AT))
                unused = (one for one in oldest if not meters[one].running)
                del meters[next(unused, oldest[0])]
        meters[name] = meter  # behind all others
        return meter


def quota_of(burst: int, rate: float) -> str:
    """A burst, and the seconds in which it comes again."""
    return f"q={burst};w={max(1, ceil(burst / rate))}"


def fewest_bytes(metered: Sequence[Metered]) -> tuple[int, str] | None:
    """The largest body that all of these allow, and who allows no more; None for any size."""
    allowed = [(one.limits.body_bytes, one.who) for one in metered if one.limits.body_bytes is not None]
    return min(allowed) if allowed else None
