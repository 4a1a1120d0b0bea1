"""Lines of the audit log about calls: who was refused and why, and who changed settings."""

from __future__ import annotations

from time import monotonic

from inferencehub.core.audit import logger
from inferencehub.core.auth.caller import ANYONE, Caller
from inferencehub.core.auth.peer import Peer
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.limits.meters import LimitReached

MOST_REFUSED = 100  # lines a second; strangers may send more, and the next line says how many had none
REFUSALS = (Kind.UNAUTHENTICATED, Kind.FORBIDDEN)


class Audit:
    """Writes the lines."""

    def __init__(self) -> None:
        self._second = 0.0
        self._lines = 0
        self._silent = 0

    def refused(self, error: HubError, peer: Peer, id: str = "", caller: Caller = ANYONE) -> None:
        """Write a line if a caller is refused because of who they are.

        Args:
            error: why a call ends.
            peer: the other end of its connection.
            id: the request id; "" for a stream, which has none.
            caller: who calls, if that is known.
        """
        if error.kind not in REFUSALS and not isinstance(error, LimitReached):
            return
        now = monotonic()
        if now - self._second >= 1.0:
            self._second, self._lines = now, 0
        if self._lines == MOST_REFUSED:
            self._silent += 1
            return
        self._lines += 1
        more = {"more": self._silent} if self._silent else {}
        self._silent = 0
        logger.warning("refused", extra={**fields(peer, id, caller), "reason": error.detail, **more})

    def controlled(self, exchange: Exchange, what: str) -> None:
        """Write a line about a call that changes settings, before it does.

        Args:
            exchange: the call.
            what: its method, and its path over HTTP.
        """
        logger.info("control", extra={**fields(exchange.peer, exchange.id, exchange.caller), "call": what})


def fields(peer: Peer, id: str, caller: Caller) -> dict[str, str]:
    """What each line has."""
    return {"id": id, "caller": caller.id, "tenant": caller.tenant, "address": peer.address}
