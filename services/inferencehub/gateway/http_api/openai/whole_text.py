"""The sink of a call that carries a generated text as one answer, from a model that may give it in pieces."""

from __future__ import annotations

import asyncio
from collections import deque

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.sink import End
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.http_api.call import LARGE_JSON, HttpCall
from inferencehub.gateway.http_api.openai.generated import Generated
from inferencehub.gateway.json_codec.answer_json import Wanted
from inferencehub.gateway.json_codec.openai.generation_json import Frame

LAST = -1  # instead of a weight


class Written(Wanted):
    """An answer whose JSON is `text`."""

    text: bytes = b""


class WholeText:
    """See the module's text.

    Args:
        call: the HTTP call.
        frame: what the answer says beside the text.
        generated: the text.
        most_bytes: the largest text.
        bytes_held: the process's budget of bytes; the text counts in it until the answer is made.
    """

    several = True

    def __init__(
        self, call: HttpCall, frame: Frame, generated: Generated, most_bytes: int, bytes_held: ByteBudget
    ) -> None:
        self._call = call
        self._frame = frame
        self._generated = generated
        self._most_bytes = most_bytes
        self._bytes_held = bytes_held
        self._done = False  # whether the answer is made; it may still be compressed
        self._text = bytearray()
        # What comes behind a large answer, which a thread reads: answers with their weights, and the end.
        self._later: deque[tuple[End, int]] = deque()

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`."""
        self._take(response, weight)

    def end(self, end: End) -> None:
        """See `Sink`."""
        self._take(end, LAST)

    def _take(self, end: End, weight: int) -> None:
        """Take an answer or the end: now, or in a thread if it is large or behind a large one."""
        if self._over:
            self._release()
        elif self._later:
            self._later.append((end, weight))
        elif isinstance(end, InferResponse) and end.size >= LARGE_JSON:
            self._later.append((end, weight))
            self._call.run(self._take_beside())
            assert self._call.task is not None
            self._call.task.add_done_callback(self._took)
        else:
            self._do(end, weight)

    def _do(self, end: End, weight: int) -> None:
        try:
            if isinstance(end, InferResponse):
                self._add(end, weight, self._read(end))
            elif end is None:
                self._answer()
            else:
                self._fail(end)
        except HubError as error:
            self._refuse(error, weight)

    async def _take_beside(self) -> None:
        later, call = self._later, self._call
        while later and not self._over:
            end, weight = later[0]  # what comes meanwhile waits behind it
            if isinstance(end, InferResponse) and end.size >= LARGE_JSON:
                try:
                    self._add(end, weight, await call.beside(self._read, end))
                except HubError as error:
                    self._refuse(error, weight)
            else:
                self._do(end, weight)
            later.popleft()

    def _took(self, task: asyncio.Task[None]) -> None:
        if self._over:  # the caller has left, perhaps behind the last answer
            self._release()

    @property
    def _over(self) -> bool:
        return self._done or self._call.ended

    def _read(self, response: InferResponse) -> bytes:
        return self._generated.add(response).encode()

    def _add(self, response: InferResponse, weight: int, piece: bytes) -> None:
        """Add text: the model goes on, or this was enough.

        Raises:
            HubError: MODEL_FAILED if the text is too large; BUSY if the process holds too many bytes.
        """
        if self._over:
            return
        if len(self._text) + len(piece) > self._most_bytes:
            raise HubError(
                Kind.MODEL_FAILED,
                f"model '{response.model}' gave a text of more than {self._most_bytes} bytes, expected a smaller "
                "max_tokens, or a stream",
            )
        if weight == LAST:
            self._bytes_held.add(len(piece))  # it is the whole answer, and ends now
        else:
            self._bytes_held.take(len(piece))
        self._text += piece
        exchange = self._call.exchange
        if weight == LAST or self._generated.enough:
            self._answer()
            if weight != LAST:
                exchange.enough(response.version)
        else:
            exchange.credit(weight)

    def _answer(self) -> None:
        frame, generated = self._frame, self._generated
        text = self._text.decode() + generated.end(frame.model)
        self._done = True
        json = frame.answer(text, generated.finish_reason, generated.usage)
        self._call.wanted = Written(text=json)
        self._call.end(InferResponse(frame.model, "", ()))
        self._release()

    def _refuse(self, error: HubError, weight: int) -> None:
        """An answer cannot be shown: end with an error, and stop the model."""
        self._fail(error)
        if weight != LAST:
            self._call.exchange.leave()

    def _fail(self, error: HubError) -> None:
        self._done = True
        self._call.fail(error)
        self._release()

    def _release(self) -> None:
        self._bytes_held.give(len(self._text))
        self._text = bytearray()
