"""ModelStreamInfer for callers: many calls over one stream, for models that give one answer.

Answers come in the order of the requests, as Triton gives them. An error is an answer too: it has the request's id, and
it ends its request and not the stream. Requests run side by side, but only so many of a stream; then nothing more is
read from it, and gRPC's flow control holds the caller back.

The stream ends with OK once the caller has closed its side and has all answers, and with UNAVAILABLE if the process
ends: requests that were read are still answered, but others were not begun and may be sent again.

The tiers have a stream of their own (`core/http2`), which gives answers in any order and knows members, and which is not
on this port.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import grpc

from inferencehub.core.process.tasks import cancelled

MOST_STREAMS = 1000  # of a process

# Runs the request in a message; returns the serialized ModelStreamInferResponse, also where the request fails.
Answer = Callable[[bytes, Any], Coroutine[Any, Any, bytes]]


class InferStream:
    """One stream.

    Args:
        context: gRPC's side of it.
        answer: runs a request.
        most: requests that have no written answer yet.
    """

    def __init__(self, context: Any, answer: Answer, most: int) -> None:
        self.ending = False
        self._most = most
        self._context = context
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._answers: deque[asyncio.Task[bytes]] = deque()  # in the order of the requests
        self._came = asyncio.Event()  # there is an answer to write, or nothing more will come
        self._room = asyncio.Event()
        self._reading = self._loop.create_task(self._read())
        self._reading.add_done_callback(lambda _: self._came.set())

    async def run(self) -> None:
        """Write the answers until all are written and no request can come any more."""
        try:
            while True:
                while not self._answers:
                    if self._reading.done():
                        return
                    self._came.clear()
                    await self._came.wait()
                await self._context.write(await self._answers[0])
                self._answers.popleft()
                self._room.set()
        finally:  # the caller may have left
            await cancelled([self._reading, *self._answers])
            self._answers.clear()

    def end(self) -> None:
        """Read no more requests, and end once those that were read are answered."""
        self.ending = True
        self._reading.cancel()

    async def _read(self) -> None:
        while (data := await self._context.read()) is not grpc.aio.EOF:
            self._answers.append(self._loop.create_task(self._answer(data, self._context)))
            del data
            self._came.set()
            while len(self._answers) >= self._most:
                self._room.clear()
                await self._room.wait()


class InferStreams:
    """All streams of a process.

    Args:
        answer: runs a request.
        most: requests of a stream that run or wait at a time.
    """

    def __init__(self, answer: Answer, most: int) -> None:
        self._answer = answer
        self._most = most
        self._open: set[InferStream] = set()

    def handler(self) -> Any:
        """The gRPC handler of ModelStreamInfer."""

        async def serve(_: Any, context: Any) -> None:
            if len(self._open) >= MOST_STREAMS:
                sentence = f"{MOST_STREAMS} streams are open, which is the most"
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, sentence)
            stream = InferStream(context, self._answer, self._most)
            self._open.add(stream)
            try:
                await stream.run()
            finally:
                self._open.discard(stream)
            if stream.ending:
                sentence = "the server ends; what it has not answered was not begun, open the stream again"
                await context.abort(grpc.StatusCode.UNAVAILABLE, sentence)

        return grpc.stream_stream_rpc_method_handler(serve)

    def end(self) -> None:
        """Ask all streams to end."""
        for stream in list(self._open):
            stream.end()
