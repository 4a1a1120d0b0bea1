"""The server end of a stream: it accepts the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from inferencehub.core.http2.frames import (
    GOAWAY,
    MAX_CONCURRENT_STREAMS,
    NO_ERROR,
    PREFACE,
    STREAM,
    TWO_NUMBERS,
    frame,
    settings,
)
from inferencehub.core.http2.stream import Stream


class ServerStream(Stream):
    """A protocol for `loop.create_server`. Subclasses decide which streams they accept, and what for.

    Args:
        most_bytes: bytes of the largest message that is accepted.
        patience_s: seconds that the client has to open the stream, and to close the connection after the stream's end.
        silent_s: seconds without any frame after which the connection is dropped; gateways ping more often.
        most_held: number of message bytes that may wait for the client's windows; beyond it the connection is dropped.
    """

    def __init__(
        self,
        most_bytes: int,
        patience_s: float = 5.0,
        silent_s: float = 60.0,
        most_held: int = 2**26,
    ) -> None:
        super().__init__(PREFACE, most_bytes)
        self._patience_s, self._silent_s, self._most_held = patience_s, silent_s, most_held
        self._loop = asyncio.get_running_loop()
        self._begun = self._finished = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Send this side's settings, and begin to wait for the stream."""
        super().connection_made(transport)
        self._timer = self._loop.call_later(self._patience_s, self._look, 0)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, so the stream is over."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(error)

    def pause_writing(self) -> None:
        """The client does not read: stop reading from it."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again: read from it again."""
        if self._transport is not None and not self.over:
            self._transport.resume_reading()

    def begin(self, metadata: Sequence[tuple[str, str]]) -> None:
        """Accept the stream with this response metadata."""
        self._begun = True
        self._write(self._head([(":status", "200"), ("content-type", "application/grpc"), *metadata], False))

    def finish(self, status: int, detail: str = "") -> None:
        """End the stream with a gRPC status, after all messages. Later messages of the client are ignored.

        The client closes the connection. If this side closed it while bytes of the client are on their way, the last
        messages could be lost.
        """
        if self.over or self._finished:
            return
        self._finished = True
        start = [] if self._begun else [(":status", "200"), ("content-type", "application/grpc")]
        trailers = [*start, ("grpc-status", str(status)), ("grpc-message", quote(detail, safe=" "))]
        goaway = frame(GOAWAY, 0, 0, TWO_NUMBERS.pack(STREAM, NO_ERROR))
        self._write_all(self._outgoing.end(self._head(trailers, True) + goaway))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._patience_s, self._look_for_the_end, self.unsent)

    def send(self, parts: Sequence[Any]) -> None:
        """Send one message, which consists of `parts`; nothing is sent once the stream has ended."""
        if self._finished:
            return
        super().send(parts)
        if self._outgoing.held > self._most_held:
            self._break("it does not take its messages")

    def _opening(self) -> bytes:
        return super()._opening() + settings((MAX_CONCURRENT_STREAMS, 1))

    def _look(self, heard: int) -> None:
        if not self._begun or self.heard == heard:
            self._break("it is silent")
        else:
            self._timer = self._loop.call_later(self._silent_s, self._look, self.heard)

    def _look_for_the_end(self, unsent: int) -> None:
        if self.unsent >= unsent:
            self._break("it was not closed")
        else:  # the last bytes are still being sent
            self._timer = self._loop.call_later(self._patience_s, self._look_for_the_end, self.unsent)
