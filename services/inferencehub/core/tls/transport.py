"""What speaks through TLS writes here, and gets what was decrypted; the handshake is in connection.py."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.tls.contexts import names_of, until_of
from inferencehub.core.tls.handshakes import reason_of
from inferencehub.core.values.tensors import Buffer

# Bytes that OpenSSL encrypts at a time, a record. Its buffers grow with what is in them, and shrink only with the connection.
PIECE = 2**14


class TlsTransport(asyncio.BufferedProtocol):
    """The transport of what speaks through TLS; as a protocol it is completed by `TlsConnection`.

    What is written is encrypted at once, and what arrives is decrypted into the memory of what speaks through TLS.
    """

    __slots__ = (
        "_app", "_closing", "_filled", "_incoming", "_loop", "_outgoing", "_paused", "_place", "_tcp", "_tls", "_why",
    )  # fmt: skip

    def __init__(self, certificate: Certificate) -> None:
        self._loop = asyncio.get_running_loop()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = certificate.wrap(self._incoming, self._outgoing)
        self._app: Any = None  # what speaks through TLS, once the handshake has ended
        self._tcp: Any = None
        self._place: memoryview | None = None  # memory of `_app`, for what is decrypted
        self._filled = 0  # bytes of it that are
        self._paused = False  # reading is paused
        self._closing = False  # bytes that arrive are dropped
        self._why: Exception | None = None  # why this side has closed it

    def _decrypt(self) -> None:
        """Decrypt what is there into the memory of what speaks through TLS, unless reading is paused.

        `_hand_on` must follow before anything else happens: by then it may want the next bytes elsewhere.
        """
        while not self._paused and not self._closing:
            place = self._place
            if place is None:
                place = self._place = self._app.get_buffer(-1)
            room = len(place) - self._filled
            try:
                size: Any = self._tls.read(room, place[self._filled :] if self._filled else place)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLError as error:  # the other side refuses this one, or bytes were changed
                self._why = ConnectionError(reason_of(error))
                self._hand_on()  # what came before is whole
                self.abort()
                return
            if not size:  # "close notify"
                self._hand_on()
                self._app.eof_received()
                self.close()
                return
            self._filled += size
            if size == room:
                self._hand_on()
            if not self._incoming.pending and (size < room or not self._tls.pending()):
                return

    def _hand_on(self) -> None:
        """Tell what speaks through TLS of the bytes in its memory."""
        size, self._filled, self._place = self._filled, 0, None
        if size and not self._closing:
            self._app.buffer_updated(size)

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._tcp.write(data)

    def write(self, data: Buffer) -> None:
        """See `asyncio.Transport`."""
        if self._closing or not data:
            return
        if len(data) <= PIECE:
            self._tls.write(data)
            self._tcp.write(self._outgoing.read())
        else:
            self._tcp.writelines(self._encrypted(data))

    def writelines(self, data: Sequence[Buffer]) -> None:
        """See `asyncio.WriteTransport`."""
        if len(data) == 1:
            self.write(data[0])
        elif sum(map(len, data)) <= PIECE:
            self.write(b"".join(data))
        elif not self._closing:
            self._tcp.writelines([record for one in data for record in self._encrypted(one)])

    def _encrypted(self, data: Buffer) -> list[bytes]:
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
        if self._app is None or self._closing:
            return
        try:
            self._decrypt()
            self._hand_on()
        except Exception:
            self.abort()  # the event loop does the same if `buffer_updated` raises
            raise

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent, encrypted."""
        size: int = self._tcp.get_write_buffer_size()
        return size

    def set_write_buffer_limits(self, high: int) -> None:
        """See `asyncio.WriteTransport`."""
        self._tcp.set_write_buffer_limits(high)

    def get_extra_info(self, name: str) -> Any:
        """See `asyncio.BaseTransport`; "names" are those in the other side's certificate, "until" is when it expires."""
        if name == "names":
            return tuple(names_of(self._tls.getpeercert()))
        if name == "until":
            return until_of(self._tls.getpeercert())
        return self._tcp.get_extra_info(name)
