"""All standing streams of a pod: the port on which they arrive, their end, and the limits for all of them.

Streams have their own port, because gRPC's server would hand each message to a thread and back (`core/http2`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from inferencehub.core.http1.server import listen
from inferencehub.core.http1.unread import Unread
from inferencehub.core.http2.half_message import GivenUp
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.tls.connection import TlsConnection
from inferencehub.core.tls.handshakes import Handshakes
from inferencehub.inference.grpc_api.standing_stream import CallRunner, StandingStream

MOST_STREAMS = 256  # connections; each gateway has two
HANDSHAKE_S = 3.0  # how long the handshake of TLS may take
UNREAD_S = 10.0  # how long a gateway may read nothing while answers wait for it
# How long it must have read nothing, or sent one message, before this may be ended to make room.
RELIEF_S = 1.0


class Streams:
    """All standing streams of a pod, and the port on which they arrive.

    Args:
        pod: runs the calls.
        most_bytes: bytes of the largest message, in both directions.
        longest_s: the most seconds that a call may take; each message can ask for less.
        budget: the process's budget of bytes. Incomplete messages and answers that wait to be sent count in it.
        certificate: for TLS, and whom it admits; None to speak in plain.
    """

    def __init__(
        self,
        pod: CallRunner,
        most_bytes: int,
        longest_s: float,
        budget: ByteBudget,
        certificate: Certificate | None = None,
    ) -> None:
        self.budget = budget
        self.unread = Unread(tick_s=1.0, relief_s=RELIEF_S, write_timeout_s=UNREAD_S, budget=budget)
        self.pod = pod
        self.most_bytes = most_bytes
        self.longest_s = longest_s
        self.port = 0
        self.again: tuple[StandingStream, str] | None = None
        self._open: set[StandingStream] = set()
        self._received = self._sent = 0  # bytes of streams that have ended
        self._none = asyncio.Event()
        self._ending = False
        self._server: asyncio.Server | None = None
        self._shaking: set[TlsConnection] = set()  # connections whose handshake is under way
        self._make: Callable[[], StandingStream | TlsConnection] = partial(StandingStream, self)
        if certificate is not None:
            made: Callable[[], StandingStream] = partial(StandingStream, self)
            shared = Handshakes(certificate, HANDSHAKE_S, MOST_STREAMS, self._shaking, made)
            self._make = partial(TlsConnection, shared)

    async def start(self, port: int) -> None:
        """Listen; port 0 takes a free one.

        Raises:
            OSError: if the port is taken.
        """
        sock = listen(port)
        self.port = sock.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._make, sock=sock)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, and end each stream when its running calls are answered, or after `grace_s` seconds."""
        self._ending = True
        if self._server is not None:
            self._server.close()
        self.renew()
        if self._open:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._none.wait()
        for stream in list(self._open):
            stream.abort()

    def renew(self) -> None:
        """Ask each gateway to open its streams again; calls that run are answered before.

        A handshake under way goes by what was trusted when it began, so it is cut off.
        """
        for shaking in list(self._shaking):
            shaking.cut_off()
        for stream in list(self._open):
            stream.end()

    def open(self) -> int:
        """The number of open streams."""
        return len(self._open)

    def carried(self) -> tuple[int, int]:
        """Bytes that were received, and bytes of messages that were sent, since the start."""
        received = self._received + sum(stream.received for stream in self._open)
        return received, self._sent + sum(stream.sent for stream in self._open)

    def opened(self, stream: StandingStream) -> bool:
        """Note that a gateway has connected; False if there are too many connections."""
        if len(self._open) >= MOST_STREAMS:
            return False
        self._open.add(stream)
        self._none.clear()
        if self._ending:
            stream.end()
        return True

    def relieve(self, fits: Callable[[], bool]) -> None:
        """Make room until `fits()` is true: give up half messages, the oldest first; then end connections.

        A half message costs one call, a connection that reads nothing costs all its calls.
        """
        latest = asyncio.get_running_loop().time() - RELIEF_S
        for stream in sorted(self._open, key=lambda stream: stream.whole_at):
            if fits():
                return
            if stream.whole_at > latest:
                break
            stream.give_up(GivenUp.NO_ROOM)
        self.unread.relieve(fits)

    def closed(self, stream: StandingStream) -> None:
        """Note that a gateway's connection is closed."""
        if stream in self._open:
            self._received += stream.received
            self._sent += stream.sent
        self._open.discard(stream)
        if not self._open:
            self._none.set()
