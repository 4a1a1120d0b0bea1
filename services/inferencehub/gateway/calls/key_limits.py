"""The stage that limits what the holder of a key uses: calls a second, and calls at a time.

Each gateway grants its share, the limit divided by the number of gateways. So no call waits for a store that all share, and
the sum is right as long as calls are spread evenly over the gateways.
"""

from __future__ import annotations

from math import ceil
from time import monotonic

from inferencehub.core.auth.caller import Limits
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.peers import Peers
from inferencehub.gateway.calls.stages import Metadata, Stage


class LimitReached(HubError):
    """A limit of the caller's is reached.

    Args:
        detail: one sentence for the caller.
        wait_s: seconds until a call would be accepted.
        quota, window_s: the limit, as calls in so many seconds; 0 seconds for calls at a time.
    """

    def __init__(self, detail: str, wait_s: float, quota: int, window_s: int) -> None:
        super().__init__(Kind.BUSY, detail, max(1, ceil(wait_s)))
        self.quota = quota
        self.window_s = window_s


class Meter:
    """What the holder of one key uses at this gateway. `calls` run now; `tokens` may begin at once."""

    __slots__ = ("_at", "calls", "tokens")

    def __init__(self) -> None:
        self.calls = 0
        self.tokens = float("inf")  # cut to the burst when it is first looked at
        self._at = monotonic()

    def wait_s(self, rate: float, burst: float) -> float:
        """Take a token; if there is none, the seconds until there is one.

        Args:
            rate: tokens that come in a second.
            burst: tokens that there are at most.
        """
        now = monotonic()
        self.tokens = min(burst, self.tokens + (now - self._at) * rate)
        self._at = now
        if self.tokens < 1.0:
            return (1.0 - self.tokens) / rate
        self.tokens -= 1.0
        return 0.0

    def ended(self) -> None:
        """A call has ended."""
        self.calls -= 1


class KeyLimits(Stage):
    """See the module's text.

    Args:
        peers: counts the gateways.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._meters: dict[str, Meter] = {}  # by the id of the key, so a reloaded file changes no count

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        """See `Stage`. Counts the call until `exchange.end` is called.

        Raises:
            LimitReached: if there are too many calls.
        """
        caller = exchange.caller
        if caller.limits is None:
            return
        meter = self._meters.get(caller.id)
        if meter is None:
            meter = self._meters[caller.id] = Meter()
        check_limits(meter, caller.who, caller.limits, self._peers.count)
        meter.calls += 1
        exchange.meter = meter


def check_limits(meter: Meter, who: str, limits: Limits, gateways: int) -> None:
    """Check one more call against this gateway's share of the limits.

    Raises:
        LimitReached: if there are too many.
    """
    if limits.concurrency is not None and meter.calls >= ceil(limits.concurrency / gateways):
        sentence = f"{who} has {meter.calls} calls running here, which is the most"
        raise LimitReached(sentence, 1, limits.concurrency, 0)
    if limits.rate is not None:
        burst = limits.burst
        wait_s = meter.wait_s(limits.rate / gateways, max(1.0, burst / gateways))
        if wait_s:
            sentence = f"{who} may make {limits.rate:g} calls a second, and {burst} at once"
            raise LimitReached(sentence, wait_s, burst, max(1, ceil(burst / limits.rate)))
