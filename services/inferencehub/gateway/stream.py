"""A standing ModelStreamInfer to a pod of ours: many calls over one stream, each a message there and a message back.

A call of its own costs gRPC more than a small model costs to run. On the stream a call is known by the `id` of its
message, answers come in whatever order, and an error is an answer too, so that it ends one call and not the stream.
What a unary call has of its own is said in messages instead: how long each caller waits (`hub_members`), and that
nobody waits any more (`hub_cancel`).

A stream ends in one of two ways. Where the pod ends it with OK, it has begun nothing of what it has not answered, and
that may go to another pod whatever its model allows; that is how a pod drains. In any other way it is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from typing import Any

import grpc

from inferencehub.core import wire
from inferencehub.pb import open_inference_pb2 as pb

CODES = {code.name: code for code in grpc.StatusCode}
LARGEST = 2**20  # bytes of a message on the stream: those behind a larger one would wait for it


class Failed(Exception):
    """The service ended a call with an error.

    Args:
        code: the status.
        detail: its text.
        refused: whether the call was never begun, so that it may go to another pod.
    """

    def __init__(self, code: grpc.StatusCode, detail: str, refused: bool = False) -> None:
        super().__init__(f"{code.name}: {detail}")
        self.code = code
        self.detail = detail
        self.refused = refused


def failed(error: grpc.aio.AioRpcError) -> Failed:
    """A gRPC call's error as `Failed`."""
    refused = any(name == wire.REFUSED for name, _ in error.trailing_metadata() or ())
    return Failed(error.code(), error.details() or "", refused)


class Stream:
    """A stream that the pod has taken; `run` carries it.

    Args:
        call: the gRPC call, of bytes there and `ModelStreamInferResponse` back.
        limit: bytes of the largest message that the pod takes.
    """

    def __init__(self, call: Any, limit: int) -> None:
        self.limit = min(limit, LARGEST)
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._unsent: deque[bytes] = deque()
        self._more = self._loop.create_future()

    def next_id(self) -> str:
        """An id that no other call of this stream has."""
        return str(next(self._numbers))

    async def infer(self, id: str, message: bytes) -> Any:
        """The ModelInferResponse to a call: its id, and the request that bears it. Whoever stops waiting ends it at the pod too.

        Raises:
            Failed: as the pod answered, or as the stream ended.
        """
        answer = self._answers[id] = self._loop.create_future()
        self._send(message)
        try:
            return await answer
        except asyncio.CancelledError:
            if self._answers.pop(id, None) is not None:
                self._send(wire.cancel_to_proto(id).SerializeToString())
            raise

    async def run(self) -> None:
        """Carry calls until the stream ends or this is cancelled; those without an answer fail then."""
        writing = self._loop.create_task(self._write())
        end = Failed(grpc.StatusCode.CANCELLED, "the channel was closed")
        try:
            while (reply := await self._call.read()) is not grpc.aio.EOF:
                self._answered(reply)
            end = Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "the pod takes nothing more", refused=True)
        except grpc.aio.AioRpcError as error:
            # Whatever the status: it is the stream's, and says nothing of any one call.
            end = Failed(grpc.StatusCode.UNAVAILABLE, f"the stream broke: {error.code().name}")
        finally:
            writing.cancel()
            self._call.cancel()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(Failed(end.code, end.detail, end.refused))
            self._answers.clear()

    def _answered(self, reply: pb.ModelStreamInferResponse) -> None:
        response = reply.infer_response
        answer = self._answers.pop(response.id, None)
        if answer is None or answer.done():
            return  # whoever asked has left
        if reply.error_message:
            code, detail, refused = wire.failure_from_proto(reply)
            answer.set_exception(Failed(CODES.get(code, grpc.StatusCode.UNKNOWN), detail, refused))
        else:
            answer.set_result(response)

    def _send(self, message: bytes) -> None:
        self._unsent.append(message)
        if not self._more.done():
            self._more.set_result(None)

    async def _write(self) -> None:
        """Send, in a task of its own: gRPC ends the whole call of whoever is cancelled while it writes."""
        try:
            while True:
                while self._unsent:
                    await self._call.write(self._unsent.popleft())
                self._more = self._loop.create_future()
                await self._more
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            return  # the stream has ended, and `run` learns how


async def open_stream(method: Any, most_bytes: int, within_s: float) -> Stream:
    """A stream of `method`, once the pod has taken it.

    Args:
        method: ModelStreamInfer of a channel.
        most_bytes: the largest message that is taken here.
        within_s: how long that may last.

    Raises:
        AioRpcError: where the pod refuses it.
        TimeoutError: where the pod does not answer.
        ValueError: where it takes it for something else.
    """
    call = method(metadata=((wire.STREAM, str(most_bytes)),))
    try:
        said = await asyncio.wait_for(call.initial_metadata(), within_s)
        limit = next((value for name, value in said or () if name == wire.STREAM), "")
        if not limit:
            code = await asyncio.wait_for(call.code(), within_s)
            raise ValueError(f"the stream ended with {code.name}")
        return Stream(call, int(limit))
    except BaseException:
        call.cancel()
        raise
