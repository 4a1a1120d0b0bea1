"""What is kept of a call while it runs, and a reply that notes the answer which it passes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic, time
from typing import Protocol

from inferencehub.core.http1.handler import Reply
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.http_api.call import HttpCall

CALL_BYTES = 2048  # what a call takes beside its body, its headers and its answer
PART_BYTES = 64  # what a part of an answer takes beside its bytes


def size_of(call: HttpCall) -> int:
    """The place that a call needs without its answer."""
    head = call.head
    fields = head.fields
    lengths = sum(map(len, fields)) + sum(map(len, fields.values()))
    return CALL_BYTES + len(head.target) + lengths + len(call.body)


class Room(Protocol):
    """Where tapes take place from; see `Recorder`."""

    def hold(self, size: int) -> bool:
        """Take place for so many bytes; False if there is none."""

    def release(self, size: int) -> None:
        """Give it back."""


class Tape:
    """A call that is being recorded, with the bytes that it has taken place for.

    Args:
        call: the call; its body is complete.
        held: the place that it has; see `size_of`.
        room: where the answer takes its place.

    `status` is 0 until the answer has begun. `id` and `trace_id` are those of the call, `seconds` is how long it took, and `time`
    is when it began, in seconds since 1970; all of them are there when it has ended.
    """

    __slots__ = (
        "_exchange",
        "body",
        "head",
        "held",
        "id",
        "lines",
        "over",
        "parts",
        "room",
        "seconds",
        "status",
        "time",
        "trace_id",
    )

    def __init__(self, call: HttpCall, held: int, room: Room) -> None:
        self.head = call.head
        self._exchange: Exchange | None = call.exchange
        self.id = self.trace_id = ""
        self.body = bytes(call.body)
        self.room = room
        self.held = held
        self.over = False
        self.status, self.lines = 0, b""
        self.parts: list[bytes] = []
        self.time = self.seconds = 0.0

    def begin(self, status: int, lines: bytes) -> None:
        """The answer has begun."""
        self.status, self.lines = status, lines

    def add(self, part: Buffer) -> bool:
        """Keep a part of the answer; False if there is no room for it."""
        size = len(part) + PART_BYTES
        if self.over or not self.room.hold(size):
            return False
        self.held += size
        self.parts.append(bytes(part))  # a view may be a small part of a large message, which it would keep
        return True

    def stop(self) -> None:
        """The answer has ended. The exchange is let go of: it has the tensors of the call."""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        self.seconds = monotonic() - exchange.started
        self.time = time() - self.seconds
        self.id, trace = exchange.id, exchange.trace
        self.trace_id = "" if trace is None else trace.trace_id

    def clear(self) -> None:
        """Its line is made: keep no bytes."""
        self.body = b""
        self.parts.clear()

    def drop(self) -> None:
        """Keep nothing of it."""
        if not self.over:
            self.over = True
            self.room.release(self.held)
            self.clear()


class TapedReply(Reply):
    """A reply that passes everything on, and notes it.

    Args:
        inner: the reply of the connection.
        tape: where the answer goes.
        ended: called with whether the whole answer is on the tape.
    """

    __slots__ = ("_ended", "_inner", "_tape")

    def __init__(self, inner: Reply, tape: Tape, ended: Callable[[bool], None]) -> None:
        self._inner = inner
        self._tape: Tape | None = tape
        self._ended = ended
        self.request = inner.request

    @property
    def started(self) -> bool:
        """See `Reply`."""
        return self._inner.started

    @property
    def host(self) -> str:
        """See `Reply`."""
        return self._inner.host

    @property
    def close(self) -> bool:
        """See `Reply`."""
        return self._inner.close

    @close.setter
    def close(self, close: bool) -> None:
        self._inner.close = close

    @property
    def drained(self) -> Callable[[], None] | None:
        """See `Reply`."""
        return self._inner.drained

    @drained.setter
    def drained(self, drained: Callable[[], None] | None) -> None:
        self._inner.drained = drained

    def send(self, status: int, lines: bytes, parts: Sequence[Buffer]) -> None:
        """See `Reply`."""
        self._inner.send(status, lines, parts)
        if (tape := self._tape) is not None:
            whole = not tape.status  # else the connection is aborted
            tape.begin(status, lines)
            self._end(whole and all(tape.add(part) for part in parts))

    def start(self, status: int, lines: bytes) -> None:
        """See `Reply`."""
        self._inner.start(status, lines)
        if self._tape is not None:
            self._tape.begin(status, lines)

    def write(self, data: Buffer) -> bool:
        """See `Reply`."""
        if self._tape is not None and not self._tape.add(data):
            self._end(False)
        return self._inner.write(data)

    def end(self) -> None:
        """See `Reply`."""
        self._inner.end()
        if self._tape is not None:
            self._end(True)

    def abort(self) -> None:
        """See `Reply`."""
        self._inner.abort()
        if self._tape is not None:
            self._end(False)

    def _end(self, whole: bool) -> None:
        assert self._tape is not None
        self._tape.stop()
        self._tape = None
        self._ended(whole)
