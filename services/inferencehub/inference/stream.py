"""The pod's end of a gateway's standing stream (`gateway/stream.py`, `core/wire.py`): ModelStreamInfer with our mark.

Every message is a call and runs by itself; answers leave in the order in which they are ready. The stream lives as
long as its gateway wants. When the pod stops, it takes no new call, answers those that run, and ends the stream with
OK: what was not answered by then was never begun.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Protocol

from inferencehub.core import wire
from inferencehub.core.errors import HubError
from inferencehub.core.messages import InferResponse
from inferencehub.core.tensors import Buffer
from inferencehub.inference.call import Call
from inferencehub.inference.raw import read_request
from inferencehub.pb import open_inference_pb2 as pb

MOST_UNSENT = 1000  # answers that a gateway has not taken; beyond them its messages wait


class Pod(Protocol):
    """What runs the calls."""

    def begin(self, message: pb.ModelInferRequest, raw: Sequence[Buffer], stream: StandingStream) -> Call:
        """Accept a message, with its raw contents.

        Raises:
            Exception: where it is not accepted.
        """

    def answer(self, id: str, call: Call, limit: int) -> bytes:
        """The answer once the call has ended, of `limit` bytes at most; b"" where nobody waits for it."""

    def failure(self, id: str, error: Exception, message: pb.ModelInferRequest | None) -> bytes:
        """The answer to a message that was not accepted."""


class StandingStream:
    """One stream.

    Args:
        pod: what runs the calls.
        metadata: what the stream began with.
        limit: bytes of the largest message that the gateway takes.
        longest_s: seconds that a call may last at most; how long each may last its message says.
    """

    def __init__(
        self,
        pod: Pod,
        metadata: Any,
        limit: int,
        longest_s: float,
    ) -> None:
        self.limit = limit
        self._pod = pod
        self._metadata = metadata
        self._longest_s = longest_s
        self._loop = asyncio.get_running_loop()
        self._running: dict[str, Call] = {}
        self._unsent: deque[bytes] = deque()
        self._more = self._loop.create_future()
        self._fewer = asyncio.Event()
        self._ending = False

    def time_remaining(self) -> float:
        """As of a gRPC call: seconds that a message's call may last."""
        return self._longest_s

    def invocation_metadata(self) -> Any:
        """As of a gRPC call."""
        return self._metadata

    def end(self) -> None:
        """Take no new call, and end once those that run are answered."""
        self._ending = True
        self._wake()

    async def replies(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The answers to `requests`, until these end or `end` is called; what still runs is cancelled."""
        reading = self._loop.create_task(self._read(requests))
        try:
            while True:
                while self._unsent:
                    yield self._unsent.popleft()
                self._fewer.set()
                if self._ending and not self._running:
                    return
                self._more = self._loop.create_future()
                await self._more
        finally:
            reading.cancel()
            for call in list(self._running.values()):
                call.leave()

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        try:
            async for data in requests:
                self._take(data)
                if len(self._unsent) > MOST_UNSENT:
                    self._fewer.clear()
                    await self._fewer.wait()
        finally:
            self.end()

    def _take(self, data: bytes) -> None:
        try:
            message, raw = read_request(data)
        except HubError as error:
            self._send(self._pod.failure("", error, None))
            return
        id = message.id
        if wire.CANCEL in message.parameters:
            if id in self._running:
                self._running[id].leave()
        elif self._ending:
            self._send(wire.failure_to_proto(id, "RESOURCE_EXHAUSTED", "the pod takes nothing more", True))
        elif id in self._running:
            self._send(wire.failure_to_proto(id, "INVALID_ARGUMENT", f"id '{id[:80]}' runs already"))
        else:
            try:
                call = self._running[id] = self._pod.begin(message, raw, self)
                call.future.add_done_callback(partial(self._ended, id, call))
            except Exception as error:
                self._send(self._pod.failure(id, error, message))

    def _ended(self, id: str, call: Call, _: asyncio.Future[InferResponse]) -> None:
        del self._running[id]
        if reply := self._pod.answer(id, call, self.limit):
            self._unsent.append(reply)
        self._wake()

    def _send(self, reply: bytes) -> None:
        self._unsent.append(reply)
        self._wake()

    def _wake(self) -> None:
        if not self._more.done():
            self._more.set_result(None)
