"""ModelStreamInfer for callers: many calls over one stream.

Answers come in the order of the requests, as Triton gives them. Those of models that give several come as they are
made, between the others. An error is an answer too: it has the request's id, and it ends its request and not the
stream. Requests run side by side, but only so many of a stream; then nothing more is read from it, and gRPC's flow
control holds the caller back.

The stream ends with OK once the caller has closed its side and has all answers, and with UNAVAILABLE if the process
ends: requests that were read are still answered, but others were not begun and may be sent again.

The tiers have a stream of their own (`core/http2`), which gives answers in any order and knows members, and which is not
on this port.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from time import monotonic
from typing import Any

import grpc

from inferencehub.core.auth.authentication import AGAIN_S
from inferencehub.core.grpc_server.coding import ALGORITHMS, coding_of, pays
from inferencehub.core.grpc_server.connections.callers import Callers
from inferencehub.core.grpc_server.unary import written
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.sink import AnswerQueue
from inferencehub.core.oip import stream_messages
from inferencehub.core.process.tasks import cancelled
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse

# Writes a serialized ModelStreamInferResponse.
Write = Callable[[bytes], Awaitable[None]]
# Runs the request in a message: writes each answer but the last or only one, and returns that, also where the request
# fails; b"" if nothing is left to write.
Answer = Callable[[bytes, Any, Write], Coroutine[Any, Any, bytes]]


async def replies(
    sink: AnswerQueue,
    id: str,
    model: str,
    limit: int,
    write: Write,
    credit: Callable[[int], None],
    again: Callable[[], None],
) -> bytes:
    """Write the answers to a request as they come, and return the last or only one; b"" if there is none left.

    Args:
        sink: where the answers come.
        id: the request's id.
        model: the model's name, for sentences.
        limit: bytes of the largest message.
        write: writes one of several answers.
        credit: takes the weights of answers that were written.
        again: called every few seconds, before an answer is written; it raises HubError if there may be none any more.

    Raises:
        HubError: if the request fails.
    """
    looked = monotonic()
    while not isinstance(got := await sink.next(), InferResponse):
        if got is None:
            return b""
        if monotonic() - looked >= AGAIN_S:
            looked = monotonic()
            again()
        response, weight = got
        await write(written(stream_messages.stream_answer(response, id, False), model, limit))
        credit(weight)
    return written(stream_messages.stream_answer(got, id, True), model, limit)


class InferStream:
    """One stream.

    Args:
        context: gRPC's side of it.
        answer: runs a request.
        most: requests that run, or whose answer is not written yet.
        bytes_held: the process's budget of bytes; it counts answers that wait for their turn.
        callers: counts what has come, and answers that their callers have not taken.
    """

    def __init__(
        self, context: Any, answer: Answer, most: int, bytes_held: ByteBudget, callers: Callers
    ) -> None:
        self.ending = False
        self.refused: HubError | None = None
        self._bytes_held = bytes_held
        self._callers = callers
        self._coding: bytes | None = None
        self._held = 0
        self._most = most
        self._context = context
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._answers: deque[asyncio.Task[bytes]] = deque()  # in the order of the requests
        self._left = False  # whether nothing can be written any more
        self._several: set[asyncio.Task[bytes]] = set()  # requests that have an answer, and get another
        self._writing = asyncio.Lock()  # gRPC takes one message at a time
        self._came = asyncio.Event()  # there may be an answer to write, or an end
        self._room = asyncio.Event()
        self._reading = self._loop.create_task(self._read())
        self._reading.add_done_callback(self._changed)

    async def run(self) -> None:
        """Write the answers until all are written and no request can come any more."""
        try:
            while True:
                self._came.clear()
                while self._answers and self.refused is None and self._answers[0].done():
                    await self._write(self._answers[0].result())
                    self._answers.popleft()
                    self._room.set()
                if self.refused is not None:
                    return
                if self._reading.done() and not self._answers and not self._several:
                    return
                await self._came.wait()
        finally:  # the caller may have left
            await cancelled([self._reading, *self._answers, *self._several])
            self._answers.clear()
            self._hold(-self._held)

    def end(self) -> None:
        """Read no more requests, and end once those that were read are answered."""
        self.ending = True
        self._reading.cancel()

    def refuse(self, error: HubError) -> None:
        """End now, whatever is not answered yet: the caller may not go on."""
        self.refused = error
        self._came.set()

    async def _read(self) -> None:
        while (data := await self._context.read()) is not grpc.aio.EOF:
            self._callers.half.took(len(data), self._context)
            if self._coding is None:  # the first request decides for all answers
                self._coding = coding_of(data)
                if self._coding:
                    self._context.set_compression(ALGORITHMS[self._coding])
            task = self._loop.create_task(self._request(data))
            del data
            task.add_done_callback(self._changed)
            self._answers.append(task)
            while len(self._answers) + len(self._several) >= self._most:
                self._room.clear()
                await self._room.wait()

    def _changed(self, _: asyncio.Task[Any]) -> None:
        self._came.set()

    async def _request(self, data: bytes) -> bytes:
        task = asyncio.current_task()
        assert task is not None
        last = await self._answer(data, self._context, partial(self._part, task))
        self._hold(len(last))
        if task not in self._several:
            return last  # it is written in its turn
        await self._write(last)
        self._several.discard(task)
        self._room.set()
        return b""

    async def _part(self, task: asyncio.Task[bytes], data: bytes) -> None:
        """Write one of several answers. The request leaves the order of those that get one.

        Raises:
            HubError: CALLER_LEFT if it cannot be written.
        """
        if task not in self._several:
            self._answers.remove(task)
            self._several.add(task)
            self._came.set()
        self._hold(len(data))
        await self._write(data)
        if self._left:
            raise HubError(Kind.CALLER_LEFT, "the caller of the stream has left")

    async def _write(self, data: bytes) -> None:
        """Write an answer that is held, unless the caller has left."""
        if data and not self._left:
            size, unread = len(data), self._callers.unread
            async with self._writing:
                self._hold(-size)
                if self._coding and not pays(data, self._coding):
                    self._context.disable_next_message_compression()
                caller = unread.add(size, self._context)
                try:
                    await self._context.write(data)
                except Exception:  # gRPC has several, none of them public
                    self._left = True
                finally:
                    unread.give(size, caller)

    def _hold(self, size: int) -> None:
        self._held += size
        if size > 0:
            self._bytes_held.add(size)
        else:
            self._bytes_held.give(-size)
