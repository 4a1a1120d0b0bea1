"""The client end of a stream: it opens the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from inferencehub.core.http2.frames import CANCEL, ENABLE_PUSH, PING, PREFACE, Broken, frame, settings
from inferencehub.core.http2.half_message import GivenUp
from inferencehub.core.http2.rules import RESPONSE, check_headers
from inferencehub.core.http2.stream import GIVE_BACK, Stream
from inferencehub.core.values.tensors import Buffer


class Ended(NamedTuple):
    """How a stream ended: the server's gRPC status and message, or -1 and the reason if the stream broke."""

    status: int
    detail: str


class ClientStream(Stream):
    """A protocol for `loop.create_connection`.

    Two futures show the stream's state: `began` gets the server's metadata once the server has accepted the stream, and
    `ended` gets an `Ended` once the stream is over.

    Args:
        authority: host and port of the server.
        path: /service/method.
        metadata: request metadata to open the stream with.
        received: called with each message.
        most_bytes: bytes of the largest message that is accepted.
        give_back: number of received bytes after which the windows are opened again.
    """

    def __init__(
        self,
        authority: str,
        path: str,
        metadata: Sequence[tuple[str, str]],
        received: Callable[[Buffer], None],
        most_bytes: int,
        give_back: int = GIVE_BACK,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.began: asyncio.Future[dict[str, str]] = loop.create_future()
        self.ended: asyncio.Future[Ended] = loop.create_future()
        self._request = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *metadata,
        ]
        self._received: Callable[[Buffer], None] | None = received
        super().__init__(b"", most_bytes, give_back)

    def ping(self) -> None:
        """Send a ping, which the server has to answer."""
        self._write(frame(PING, 0, 0, bytes(8)))

    def close(self) -> None:
        """Cancel the stream and close its connection; nothing happens if the stream is over."""
        if not self.over:
            self._write(self._reset(CANCEL))
            self._break("closed")

    def refused(self, reason: str) -> None:
        """There is no connection."""
        self._break(reason)

    def _opening(self) -> bytes:
        no_push = settings((ENABLE_PUSH, 0))
        return PREFACE + no_push + super()._opening() + self._head(self._request, last=False)

    def _check_headers(self, headers: list[tuple[str, str]], last: bool) -> None:
        if not self.began.done():
            check_headers(headers, RESPONSE, needed=1)
            return
        if not last:
            raise Broken("a second block of headers that does not end the stream")
        check_headers(headers, (), needed=0)

    def _headed(self, headers: Mapping[str, str], last: bool) -> None:
        """Take the server's metadata, or its trailers.

        Raises:
            Broken: if the HTTP status is not 200.
        """
        if not self.began.done():
            status = headers.get(":status")
            if status != "200":
                raise Broken(f"it answers with HTTP status {status}")
            if not last:
                self.began.set_result(dict(headers))
        if last:
            status = headers.get("grpc-status", "")
            if not status.isdigit():
                self._break("no status")
            elif not self.over:
                self._end()
                self.ended.set_result(Ended(int(status), unquote(headers.get("grpc-message", ""))))

    def message(self, data: Buffer) -> None:
        """See `Receiver`."""
        if self._received is not None:
            self._received(data)

    def given_up(self, head: bytes, why: GivenUp) -> None:
        """See `Receiver`; never called: there is no budget, and `oversized` raises."""

    def oversized(self, size: int) -> None:
        """See `Receiver`: the server knows the limit, and nobody could say whose answer it is."""
        raise Broken(f"a message of {size} bytes, which is more than this side takes")

    def half_closed(self) -> None:
        """See `Receiver`."""
        raise Broken("the stream ends without a status")

    def _end(self) -> None:
        super()._end()
        self._received = None  # it refers to the object that has this stream

    def _ended(self, why: str) -> None:
        self.ended.set_result(Ended(-1, why))
