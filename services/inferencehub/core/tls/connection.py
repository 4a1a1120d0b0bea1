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
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from inferencehub.core.tls.contexts import names_of
from inferencehub.core.tls.handshakes import Handshakes, reason_of
from inferencehub.core.values.tensors import Buffer

# All connections read into this buffer; its bytes are taken out before the next read.
BUFFER = memoryview(bytearray(2**16))
# Bytes that OpenSSL gets at a time, a record. Its buffers grow with what is in them, and shrink only with the connection.
PIECE = 2**14


class TlsConnection(asyncio.BufferedProtocol):
    """See the module's text.

    Args:
        shared: what the connections of the server share.
    """

    __slots__ = (
        "_app", "_closing", "_ending", "_incoming", "_loop", "_outgoing", "_paused", "_shared", "_tcp", "_timer", "_tls",
        "_why",
    )  # fmt: skip

    def __init__(self, shared: Handshakes) -> None:
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = shared.certificate.wrap(self._incoming, self._outgoing)
        self._app: Any = None  # what speaks through TLS, once the handshake has ended
        self._tcp: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False  # reading is paused
        self._closing = False  # bytes that arrive are dropped
        self._ending = False  # the server ends
        self._why: Exception | None = None  # why this side has closed it

    # --- the protocol of the TCP connection ---

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
        if self._closing:
            return
        for at in range(0, size, PIECE):
            self._incoming.write(BUFFER[at : min(at + PIECE, size)])
            if self._app is not None or self._shake():
                self._deliver()
            if self._closing:
                return

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

    # --- the transport of what speaks through TLS ---

    def _deliver(self) -> None:
        """Hand on what has been decrypted, until there is no more or reading is paused."""
        while not self._paused and not self._closing:
            place = self._app.get_buffer(-1)
            try:
                size = self._tls.read(len(place), place)
            except ssl.SSLWantReadError:
                break
            except (
                ssl.SSLError
            ) as error:  # the other side refuses this one, or bytes were changed on their way
                self._why = ConnectionError(reason_of(error))
                self.abort()
                return
            if not size:  # "close notify"
                self._app.eof_received()
                self.close()
                return
            self._app.buffer_updated(size)
            if not self._incoming.pending and not self._tls.pending():
                break  # asking once more would raise an error, which takes longer than the rest
        if self._outgoing.pending:
            self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._tcp.write(data)

    def write(self, data: Buffer) -> None:
        """See `asyncio.Transport`."""
        if not self._closing:
            records = self._records(data)
            self._tcp.write(records[0] if len(records) == 1 else b"".join(records))

    def writelines(self, data: Sequence[Buffer]) -> None:
        """See `asyncio.WriteTransport`."""
        if self._closing:
            return
        if sum(map(len, data)) <= PIECE:
            self.write(b"".join(data))
        else:
            self._tcp.write(b"".join([record for one in data for record in self._records(one)]))

    def _records(self, data: Buffer) -> list[bytes]:
        """`data`, encrypted."""
        plain, records, at = memoryview(data).cast("B"), [], 0
        while at < len(plain):
            at += self._tls.write(plain[at : at + PIECE])
            records.append(self._outgoing.read())
        return records

    def write_eof(self) -> None:
        """Send no more; bytes that arrive are dropped."""
        self._end()
        self._tcp.write_eof()

    def close(self) -> None:
        """Close when all bytes are sent."""
        self._end()
        self._tcp.close()

    def _end(self) -> None:
        """Tell the other side that nothing follows."""
        if not self._closing:
            self._closing = True
            with suppress(ssl.SSLError):  # it wants the other side's "close notify"
                self._tls.unwrap()
            self._flush()

    def abort(self) -> None:
        """Close at once; what waits is dropped. Where there is no connection yet, none is made."""
        self._closing = True
        if self._tcp is not None:
            self._tcp.abort()

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._paused = True
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._paused = False
        self._tcp.resume_reading()
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Hand on what was decrypted or waited when reading was paused."""
        if self._app is not None and not self._closing:
            self._deliver()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent, encrypted."""
        size: int = self._tcp.get_write_buffer_size()
        return size

    def set_write_buffer_limits(self, high: int) -> None:
        """See `asyncio.WriteTransport`."""
        self._tcp.set_write_buffer_limits(high)

    def get_extra_info(self, name: str) -> Any:
        """See `asyncio.BaseTransport`; "names" are those in the other side's certificate, a tuple."""
        if name == "names":
            return tuple(names_of(self._tls.getpeercert()))
        return self._tcp.get_extra_info(name)
