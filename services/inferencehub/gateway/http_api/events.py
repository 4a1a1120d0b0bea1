"""Answers as server-sent events: `text/event-stream`, from the first answer to the last.

Source: HTML Standard, section 9.2. Until the first answer comes, nothing is sent, so that an error is an answer with its
own status. While the model is silent, a comment keeps the connection alive. A caller that reads slowly holds the model
(`core/lane/sink.py`), not the gateway's memory. Where the caller's credentials are withdrawn, the stream ends with an error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Protocol

from inferencehub.core.auth.authentication import AGAIN_S
from inferencehub.core.lane.sink import End
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.calls.answer_times import AnswerTimes
from inferencehub.gateway.http_api.call import LARGE_JSON, HttpCall

LINES = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
COMMENT = b":\n\n"


class Events(Protocol):
    """What a stream of events says: each text is any number of whole events."""

    def part(self, response: InferResponse) -> bytes:
        """The events of an answer.

        Raises:
            HubError: if it cannot be shown.
        """

    def last(self) -> bytes:
        """The events behind those of all answers.

        Raises:
            HubError: if the answers are not whole.
        """

    @property
    def enough(self) -> bool:
        """Whether the stream ends here, whatever the model would add."""


class EventStream:
    """The sink of a call whose answers are events.

    Args:
        call: the HTTP call.
        events: what it says.
        keep_alive_s: seconds of silence after which a comment is sent.
    """

    several = True

    def __init__(self, call: HttpCall, events: Events, keep_alive_s: float) -> None:
        self._call = call
        self._events = events
        self._keep_alive_s = keep_alive_s
        self._times = AnswerTimes(call.exchange, call.edge.metrics)
        # What comes behind a large answer, which is encoded in a thread: answers with their weights, and the end.
        self._later: deque[tuple[InferResponse, int] | HubError | None] = deque()
        self._texts: list[bytes] = []  # of this pass of the event loop: they are one write
        self._unread = 0  # weight of answers that the caller has not read
        self._written = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`."""
        if not self._call.ended:
            self._take(response, weight)

    def end(self, end: End) -> None:
        """See `Sink`."""
        if self._call.ended:
            self._later.clear()
            self._stop()
            return
        if isinstance(end, InferResponse):
            self._take(end, 0)
            end = None
        if self._later:
            self._later.append(end)
        else:
            self._end(end)

    def _take(self, response: InferResponse, weight: int) -> None:
        """Encode an answer: now, or in a thread if it is large or behind a large one."""
        if self._later or response.size >= LARGE_JSON:
            self._later.append((response, weight))
            if len(self._later) == 1:
                self._call.run(self._encode_beside())
            return
        try:
            text, enough = self._encoded(response)
        except HubError as error:
            self._refuse(error)
        else:
            self._add(text, weight)
            if enough:
                self._cut(response.version)

    async def _encode_beside(self) -> None:
        later = self._later
        while later and not self._call.ended:
            next = later[0]
            if isinstance(next, tuple):
                response, weight = next
                try:
                    text, enough = await self._call.beside(self._encoded, response)
                except HubError as error:
                    if not self._call.ended:
                        self._refuse(error)
                    break
                if self._call.ended:  # its caller may have no more of it
                    break
                self._add(text, weight)
                if enough:
                    self._cut(response.version)
            else:
                self._end(next)
            later.popleft()

    def _encoded(self, response: InferResponse) -> tuple[bytes, bool]:
        """The events of an answer, and whether they are the last."""
        text, enough = self._events.part(response), self._events.enough
        return text + self._events.last() if enough else text, enough

    def _add(self, text: bytes, weight: int) -> None:
        if self._timer is None and not self._begin():
            return
        if not self._texts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._texts.append(text)
        self._unread += weight
        if text and weight:  # without a weight it is the only one
            self._times.sent()

    def _end(self, error: HubError | None) -> None:
        if self._call.ended:
            self._stop()
        elif error is not None:
            self._fail(error)
        else:
            try:
                text = self._events.last()
            except HubError as unfinished:
                self._fail(unfinished)
            else:
                self._add(text, 0)
                self._finish()

    def _cut(self, version: str) -> None:
        """The caller has enough: end, and stop the model."""
        self._finish()
        self._call.exchange.enough(version)

    def _refuse(self, error: HubError) -> None:
        """An answer cannot be shown, or the caller may have no other: end with an error, and stop the model."""
        self._fail(error)
        self._call.exchange.leave()

    def _flush(self) -> None:
        texts, self._texts = self._texts, []
        if not texts or self._call.ended:
            return
        reply, text = self._call.reply, b"".join(texts)
        if text and not self._write(text):
            reply.drained = self._drained
        elif text or reply.drained is None:  # an answer that shows nothing is read with what came before
            self._credit()

    def _drained(self) -> None:
        self._call.reply.drained = None
        self._credit()

    def _begin(self) -> bool:
        """Begin the answer, unless the caller may have none any more: the call may have waited for long."""
        try:
            self._call.edge.again(self._call)
        except HubError as error:
            self._refuse(error)
            return False
        self._call.start(200, LINES)
        self._written = monotonic()
        self._wait()
        return True

    def _write(self, data: bytes) -> bool:
        self._written = monotonic()
        return self._call.reply.write(data)

    def _credit(self) -> None:
        weight, self._unread = self._unread, 0
        self._call.exchange.credit(weight)

    def _fail(self, error: HubError) -> None:
        if self._timer is None:
            self._call.fail(error)
            return
        self._add(b"data: %b\n\n" % self._call.endpoint.error(error), 0)
        self._call.exchange.kind = error.kind.label
        self._finish()

    def _finish(self) -> None:
        if not self._call.ended:
            self._flush()
            self._call.finish(200)
        self._stop()

    def _wait(self) -> None:
        left = self._written + self._keep_alive_s - monotonic()
        # Nothing is due while the caller reads nothing: then the silence has no end.
        after_s = min(left, AGAIN_S) if left > 0 else AGAIN_S
        self._timer = asyncio.get_running_loop().call_later(after_s, self._look)

    def _look(self) -> None:
        """End if the caller may not go on; send a comment after some silence."""
        if self._call.ended:
            return
        try:
            self._call.edge.again(self._call)
        except HubError as error:
            self._refuse(error)
            return
        if monotonic() - self._written >= self._keep_alive_s and not self._unread:
            self._write(COMMENT)
        self._wait()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
