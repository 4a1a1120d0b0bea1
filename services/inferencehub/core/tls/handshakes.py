"""What the TLS connections of a server share, and the line in the log for a handshake that fails.

A client that is refused often sees only that the connection is closed, so the reason is told here.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from inferencehub.core.tls.certificate import Certificate

logger = logging.getLogger(__name__)

LOG_EVERY_S = 1.0


def nothing(reason: str) -> None:
    """For sides that need not be told."""


@dataclass(eq=False, slots=True)
class Handshakes:
    """What the TLS connections of a server share, or those of a side that calls.

    Args:
        certificate: of this side, and whom it trusts.
        within_s: the longest time for a handshake, in seconds.
        most: connections that are open at a time, those with a handshake under way included; others are closed at once.
        connections: the open connections.
        make: makes the protocol that speaks through TLS, an `asyncio.BufferedProtocol` with a method `shutdown`.
        refused: called with the reason if a connection ends before its handshake has.
    """

    certificate: Certificate
    within_s: float
    most: int
    connections: set[Any]
    make: Callable[[], Any]
    refused: Callable[[str], None] = nothing
    _logged: float = field(default=float("-inf"), init=False)
    _silent: int = field(default=0, init=False)

    def failed(self, reason: str, peer: object) -> None:
        """Write a line about a handshake, at most one in `LOG_EVERY_S`; it counts those before it that had none."""
        now = monotonic()
        if now - self._logged < LOG_EVERY_S:
            self._silent += 1
            return
        extra = {"address": peer[0] if isinstance(peer, tuple) else "", "reason": reason}
        more = {"more": self._silent} if self._silent else {}
        logger.warning("a TLS handshake failed", extra={**extra, **more})
        self._logged, self._silent = now, 0


def reason_of(error: ssl.SSLError) -> str:
    """Why a handshake failed, as OpenSSL names it."""
    return str(getattr(error, "verify_message", "") or error.reason or error)
