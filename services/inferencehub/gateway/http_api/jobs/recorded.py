"""A reply that goes nowhere: the answer is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inferencehub.core.http1.handler import Reply
from inferencehub.core.http1.response import JSON
from inferencehub.core.values.errors import Kind
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.jobs.record import STREAM, Result
from inferencehub.gateway.jobs.running.telling import Telling


class Recorded(Reply):
    """See the module's text.

    Args:
        most_bytes: of the answer; what is larger is not kept.
        ended: gets status, header lines and body.
        telling: gets a stream of answers as it comes; None for none.
    """

    __slots__ = ("_ended", "_lines", "_most", "_parts", "_size", "_status", "_telling")

    def __init__(
        self, most_bytes: int, ended: Callable[[Result], None], telling: Telling | None = None
    ) -> None:
        self.close = self._silent = False
        self.drained = self.finish_head = self._carrier = self._chunked = None
        self._ended: Callable[[Result], None] | None = ended
        self._most, self._size = most_bytes, 0
        self._status, self._lines = 0, b""
        self._telling: Telling | None = telling
        self._parts: list[bytes] = []

    def send(self, status: int, lines: bytes, parts: Sequence[Buffer]) -> None:
        """See `Reply`."""
        self._telling = None
        for part in parts:
            self.write(part)
        self._keep(status, lines)

    def start(self, status: int, lines: bytes) -> None:
        """See `Reply`."""
        self._status, self._lines = status, lines
        if STREAM not in lines:
            self._telling = None

    def write(self, data: Buffer) -> bool:
        """See `Reply`."""
        self._size += len(data)
        if self._size <= self._most:
            part = bytes(data)
            self._parts.append(part)
            if self._telling is not None:
                self._telling.part(part)
        else:
            self._parts.clear()
        return True

    def end(self) -> None:
        """See `Reply`."""
        self._keep(self._status, self._lines)

    def _keep(self, status: int, lines: bytes) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        if self._size > self._most:
            text = b'{"error":"the answer has %d bytes, and a job keeps at most %d"}' % (
                self._size,
                self._most,
            )
            ended(Result(Kind.MODEL_FAILED.http, JSON, text))
        else:
            ended(Result(status, lines, b"".join(self._parts)))
