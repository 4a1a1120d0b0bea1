"""Lines of the audit log about calls: who was refused and why, and who changed settings."""

from __future__ import annotations

from time import monotonic

from inferencehub.core.audit import logger
from inferencehub.core.auth.caller import ANYONE, Caller
from inferencehub.core.auth.limits import LimitReached
from inferencehub.core.auth.peer import Peer
from inferencehub.core.values.errors import HubError, Kind

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

    def controlled(self, what: str, peer: Peer, id: str, caller: Caller) -> None:
        """Write a line about a call that changes settings, before it does.

        Args:
            what: its method, and its path over HTTP.
            peer, id, caller: as in `refused`.
        """
        logger.info("control", extra={**fields(peer, id, caller), "call": what})


def fields(peer: Peer, id: str, caller: Caller) -> dict[str, str]:
    """What each line has."""
    return {"id": id, "caller": caller.id, "tenant": caller.tenant, "address": peer.address}
