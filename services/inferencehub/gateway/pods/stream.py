"""A standing ModelStreamInfer to a pod of ours: many calls over one stream, each a message there and a message back.

A call of its own costs gRPC more than a small model costs to run. On the stream a call is known by the `id` of its
message, answers come in whatever order, and an error is an answer too, so that it ends one call and not the stream.
What a unary call has of its own is said in messages instead: how long each caller waits (`hub_members`), and that
nobody waits any more (`hub_cancel`).

It has a connection of its own, to a port of its own (`core/http2`).

A stream ends in one of two ways. Where the pod ends it with OK, it has begun nothing of what it has not answered, and
that may go to another pod whatever its model allows; that is how a pod drains. In any other way it is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc

from inferencehub.core.http2.client import ClientStream, Ended
from inferencehub.core.oip import extension, messages
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.pods.link import Failed, Part
from inferencehub.pb import open_inference_pb2 as pb

CODES = {code.name: code for code in grpc.StatusCode}
NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
LARGE_MESSAGE = 2**20  # bytes of a message for which those behind it on a stream would wait


class PodStream:
    """A stream to a pod: `open` it, and `run` carries it.

    Args:
        address: host:port.
        most_bytes: the largest message that is taken here.
        patience_s: how long the pod may be silent where it should speak.
        ping_s: seconds between two pings; gRPC's servers break off who pings more often than every 10 s.
    """

    def __init__(self, address: str, most_bytes: int, patience_s: float, ping_s: float = 12.0) -> None:
        self.limit = 0
        self.address = address
        self._patience_s = patience_s
        self._ping_s = ping_s
        self._loop = asyncio.get_running_loop()
        self._answers: dict[str, tuple[asyncio.Future[Any], Part]] = {}
        mark = ((extension.STREAM, str(most_bytes)),)
        self._connection = ClientStream(address, messages.STREAM_METHOD, mark, self._answered, most_bytes)

    async def open(self) -> None:
        """Wait until the pod has taken the stream.

        Raises:
            OSError: where it cannot be connected to, or does not answer.
            ValueError: where it refuses, or takes it for something else.
        """
        connection = self._connection
        host, _, port = self.address.rpartition(":")
        try:
            async with asyncio.timeout(self._patience_s):
                await self._loop.create_connection(lambda: connection, host.strip("[]"), int(port))
                await asyncio.wait((connection.began, connection.ended), return_when=asyncio.FIRST_COMPLETED)
            if not connection.began.done():
                raise ValueError(f"the stream was not taken: {shown(connection.ended.result())}")
            limit = connection.began.result().get(extension.STREAM, "")
            if not limit.isdigit():
                raise ValueError("the stream was taken for another one")
        except BaseException:
            connection.close()
            raise
        self.limit = int(limit)

    async def infer(self, id: str, message: Sequence[Buffer], part: Part) -> Any:
        """The last or only ModelInferResponse to a call; a caller that stops waiting ends the call at the pod too.

        Args:
            id: the call's.
            message: the request that has this id, in pieces.
            part: takes each of several answers.

        Raises:
            Failed: as the pod answered, or as the stream ended.
        """
        answer = self._loop.create_future()
        self._answers[id] = (answer, part)
        self._connection.send(message)
        try:
            return await answer
        except BaseException:
            if self._answers.pop(id, None) is not None:
                self._connection.send((extension.cancel_to_proto(id).SerializeToString(),))
            raise

    async def run(self) -> None:
        """Carry calls until the stream ends or this is cancelled; those without an answer fail then."""
        listening = self._loop.create_task(self._listen())
        end = Failed(grpc.StatusCode.CANCELLED, "the channel was closed")
        try:
            ended = await asyncio.shield(self._connection.ended)
            if ended.status == 0:
                end = Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "the pod takes nothing more", refused=True)
            else:  # whatever the status: it is the stream's, and says nothing of any one call
                end = Failed(grpc.StatusCode.UNAVAILABLE, f"the stream broke: {shown(ended)}")
        finally:
            listening.cancel()
            self._connection.close()
            for answer, _ in self._answers.values():
                if not answer.done():
                    answer.set_exception(Failed(end.code, end.detail, end.refused))
            self._answers.clear()

    async def _listen(self) -> None:
        """End a stream whose connection has gone silent, though the pod may speak on others."""
        connection = self._connection
        while True:
            await asyncio.sleep(self._ping_s)
            heard, unsent, asked = connection.heard, connection.unsent, self._loop.time()
            connection.ping()
            await asyncio.sleep(self._patience_s)
            silent = connection.heard == heard and connection.unsent >= unsent
            late = self._loop.time() - asked - self._patience_s
            if silent and late < 0.5:  # else this process was busy, and may not have listened
                connection.close()

    def _answered(self, message: Buffer) -> None:
        reply = pb.ModelStreamInferResponse.FromString(message)  # type: ignore[arg-type]  # any buffer will do
        response = reply.infer_response
        waiting = self._answers.get(response.id)
        if waiting is None:
            return  # the caller has left
        answer, part = waiting
        if extension.PART in response.parameters:
            self._take_part(response, answer, part)
            return
        del self._answers[response.id]
        if answer.done():
            return
        if reply.error_message:
            code, detail, refused = extension.failure_from_proto(reply)
            answer.set_exception(Failed(CODES.get(code, grpc.StatusCode.UNKNOWN), detail, refused))
        else:
            answer.set_result(response)

    def _take_part(self, response: Any, answer: asyncio.Future[Any], part: Part) -> None:
        """One of several answers; one that can't be read fails its call, and not the stream."""
        if answer.done():
            return
        try:
            part(response)
        except Exception as error:
            answer.set_exception(error)


def shown(ended: Ended) -> str:
    """How a stream ended, in a few words."""
    return f"{NAMES.get(ended.status, 'broken')}{': ' if ended.detail else ''}{ended.detail}"
