"""A connection through TLS: the protocol of the TCP connection, and the transport of what speaks through it.

The TLS of an event loop has a write buffer of its own, hides what waits below it, and cuts it off a moment after the
connection is closed. So it can't be told how much of an answer its caller has not read, which must count in the budget of
bytes, nor can a slow reader get the whole of its last answer. Here what is written is encrypted at once, and waits where
it would wait without TLS: the buffer of the TCP transport is the only one.

A connection counts from its first moment, before its handshake. The end is told by "close notify", and none is waited for.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from inferencehub.core.tls.contexts import names_of
from inferencehub.core.tls.handshakes import Handshakes, reason_of
from inferencehub.core.tls.records import Records
from inferencehub.core.tls.transport import TlsTransport

# All connections read into this buffer; its bytes are taken out before the next read.
BUFFER = memoryview(bytearray(2**16))


class TlsConnection(TlsTransport):
    """See the module's text.

    Args:
        shared: what the connections of the server share.
    """

    __slots__ = ("_ending", "_records", "_shared", "_timer")

    def __init__(self, shared: Handshakes) -> None:
        super().__init__(shared.certificate)
        self._shared = shared
        self._records = Records()
        self._timer: asyncio.TimerHandle | None = None
        self._ending = False  # the server ends

    def connection_made(self, transport: Any) -> None:
        """Begin the handshake; if there are too many connections, close this one."""
        self._tcp, shared = transport, self._shared
        if self._closing or len(shared.connections) >= shared.most:
            self._closing = True
            transport.abort()
            return
        shared.connections.add(self)
        self._timer = self._loop.call_later(shared.within_s, self._late)
        if shared.certificate.calls:
            self._shake()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        return BUFFER

    def buffer_updated(self, size: int) -> None:
        """See `asyncio.BufferedProtocol`: `size` encrypted bytes have arrived."""
        at, records = 0, self._records
        while at < size and not self._closing:
            end = records.end(BUFFER, at, size)
            self._incoming.write(BUFFER[at:end])
            at = end
            if (self._app is not None or self._shake()) and not records.left:
                self._decrypt()
        if self._place is not None:
            self._hand_on()
        if self._outgoing.pending and not self._closing:
            self._flush()

    def eof_received(self) -> None:
        """The other side has hung up; the transport closes itself."""
        if self._app is not None:
            self._app.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by either side."""
        self._closing = True
        self._shared.connections.discard(self)
        self._disarm()
        why = self._why or exc
        app, self._app = self._app, None
        if app is not None:
            app.connection_lost(why)
        else:
            self._shared.refused(str(why or "the connection was closed"))

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        if self._app is not None:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        if self._app is not None:
            self._app.resume_writing()

    # --- the handshake ---

    def _shake(self) -> bool:
        """Go on with the handshake; whether it has ended well."""
        try:
            self._tls.do_handshake()
            objection = self._shared.certificate.objection(names_of(self._tls.getpeercert()))
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            objection = reason_of(error)
        self._flush()  # where the handshake failed, it tells the other side why
        if objection:
            self._fail(objection)
            self._tcp.close()
            return False
        self._disarm()
        self._shared.connections.discard(self)  # from now on what speaks through it counts
        self._app = self._shared.make()
        self._app.connection_made(self)
        if self._ending and not self._closing:
            self._app.shutdown()
        return True

    def _fail(self, reason: str) -> None:
        self._closing = True
        self._why = ConnectionError(reason)
        self._shared.failed(reason, self._tcp.get_extra_info("peername"))

    def _late(self) -> None:
        self._timer = None
        self._fail("no answer")
        self._tcp.abort()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def shutdown(self) -> None:
        """The server ends, while the handshake is under way: end after the first request."""
        self._ending = True

    def cut_off(self) -> None:
        """The process ends and waits no longer."""
        self.abort()
