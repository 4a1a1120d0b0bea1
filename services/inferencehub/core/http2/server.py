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
    Broken,
    frame,
    settings,
)
from inferencehub.core.http2.half_message import Budget, GivenUp
from inferencehub.core.http2.rules import REQUEST, check_headers
from inferencehub.core.http2.stream import Stream

LOOK_S = 1.0  # the time between two looks at the times of a connection


class ServerStream(Stream):
    """A protocol for `loop.create_server`. Subclasses decide which streams they accept, and what for.

    Args:
        most_bytes: bytes of the largest message that is accepted.
        patience_s: seconds that the client has to open the stream, and to close the connection after the stream's end.
        silent_s: seconds without any frame after which the connection is dropped; gateways ping more often.
        message_s: seconds in which a message must arrive completely; a slower one is given up.
        most_held: number of message bytes that may wait for the client's windows; beyond it the connection is dropped.
        budget: accounts for the bytes of an incomplete message; None for no limit.

    `whole_at` is the event loop's time, to a second, when it was last seen that no message is incomplete, or another.
    """

    def __init__(
        self,
        most_bytes: int,
        patience_s: float = 5.0,
        silent_s: float = 60.0,
        message_s: float = 30.0,
        most_held: int = 2**26,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(PREFACE, most_bytes, budget=budget)
        self._patience_s, self._silent_s, self._message_s = patience_s, silent_s, message_s
        self._most_held = most_held
        self._begun = self._finished = False
        self._made_at = self._heard_at = self.whole_at = self._loop.time()
        self._heard = self._seen_begun = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def half(self) -> bool:
        """Whether a large message has arrived in part."""
        return self._incoming.half.wants

    def give_up(self, why: GivenUp) -> None:
        """Give up the message that has arrived in part; the connection, and all else on it, go on."""
        self._incoming.give_up(why, self)

    def connection_made(self, transport: Any) -> None:
        """Send this side's settings, and begin to wait for the stream."""
        super().connection_made(transport)
        self._look()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, so the stream is over."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(error)

    def pause_writing(self) -> None:
        """The client does not read: stop reading from it."""
        self._stuck = True
        self._regulate()

    def resume_writing(self) -> None:
        """The client reads again: read from it again."""
        self._stuck = False
        self._go_on()
        self._regulate()

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
        self._timer = self._loop.call_later(self._patience_s, self._look_for_the_end, self.unsent())

    def send(self, parts: Sequence[Any]) -> None:
        """Send one message, which consists of `parts`; nothing is sent once the stream has ended."""
        if self._finished:
            return
        super().send(parts)
        if self._stuck or self._outgoing.held:
            self._held_up()

    def _held_up(self) -> None:
        """A message waits because the client does not read."""
        if self._outgoing.held > self._most_held:
            self._break("it does not take its messages")

    def _check_headers(self, headers: list[tuple[str, str]], last: bool) -> None:
        if not self._incoming.begun:
            check_headers(headers, REQUEST, needed=3)
            return
        if not last:
            raise Broken("a second block of headers that does not end the stream")
        check_headers(headers, (), needed=0)

    def _opening(self) -> bytes:
        return super()._opening() + settings((MAX_CONCURRENT_STREAMS, 1))

    def _look(self) -> None:
        """Drop the connection if one of its times is over; called again and again until the stream ends."""
        now, half = self._loop.time(), self._incoming.half
        if self.heard != self._heard:
            self._heard, self._heard_at = self.heard, now
        if half.begun != self._seen_begun or not half.wants:
            self._seen_begun, self.whole_at = half.begun, now
        if now - self._heard_at >= self._silent_s or (
            not self._begun and now - self._made_at >= self._patience_s
        ):
            self._break("it is silent")
            return
        if now - self.whole_at >= self._message_s:
            self.give_up(GivenUp.TOO_SLOW)
        self._timer = self._loop.call_later(min(LOOK_S, self._patience_s), self._look)

    def _look_for_the_end(self, unsent: int) -> None:
        if self.unsent() >= unsent:
            self._break("it was not closed")
        else:  # the last bytes are still being sent
            self._timer = self._loop.call_later(self._patience_s, self._look_for_the_end, self.unsent())
