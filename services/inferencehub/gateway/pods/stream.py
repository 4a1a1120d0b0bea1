"""A standing ModelStreamInfer to a pod of ours: many calls over one stream, each with one request message.

A unary call costs gRPC more time than a small model needs to run. On the stream the `id` of a message identifies its
call. Answers come in any order. An error is an answer too: it ends one call, not the stream. Messages carry what a
unary call has built in: how long each caller waits (`hub_members`), and that a caller has left (`hub_cancel`).

The stream has its own connection, to a separate port of the pod (`core/http2`).

A stream ends in one of two ways. If the pod ends it with OK, the pod is draining: it has not started any call that it
did not answer, and these calls may go to another pod, even for models that must not run twice. After any other end the
calls are lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc

from inferencehub.core.http2.client import ClientStream, Ended
from inferencehub.core.oip import extension, messages
from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.tls.connection import TlsConnection
from inferencehub.core.tls.handshakes import Handshakes
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.pods.link import Failed, Part
from inferencehub.pb import open_inference_pb2 as pb

CODES = {code.name: code for code in grpc.StatusCode}
NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
LARGE_MESSAGE = 2**20  # bytes from which on a message is large: small ones would wait too long behind it


class PodStream:
    """A stream to a pod: `open` connects, then `run` carries calls until the end.

    Args:
        address: host:port.
        most_bytes: the largest message that the gateway receives.
        patience_s: how long the pod may take to answer a connection or a ping.
        certificate: for TLS; None to speak in plain.
        ping_s: seconds between two pings; gRPC servers close a connection that pings more often than every 10 s.
    """

    def __init__(
        self,
        address: str,
        most_bytes: int,
        patience_s: float,
        certificate: Certificate | None = None,
        ping_s: float = 12.0,
    ) -> None:
        self.limit = 0
        self._tells_begun = False  # whether the pod says so when it has accepted a call that was lost before
        self._not_begun: set[str] = set()  # the ids of such calls that it has not accepted yet
        self.address = address
        self._patience_s = patience_s
        self._ping_s = ping_s
        self._loop = asyncio.get_running_loop()
        self._answers: dict[str, tuple[asyncio.Future[Any], Part]] = {}
        mark = ((extension.STREAM, str(most_bytes)),)
        self._connection = connection = ClientStream(
            address, messages.STREAM_METHOD, mark, self._answered, most_bytes
        )
        self._tls: TlsConnection | None = None
        if certificate is not None:
            refused = connection.refused
            shared = Handshakes(certificate, patience_s, 1, set(), lambda: connection, refused)
            self._tls = TlsConnection(shared)

    async def open(self) -> None:
        """Connect, and wait until the pod has accepted the stream.

        Raises:
            OSError: if the pod cannot be reached, or does not answer in time.
            ValueError: if the pod refuses the stream, or does not know its extension.
        """
        connection = self._connection
        host, _, port = self.address.rpartition(":")
        try:
            async with asyncio.timeout(self._patience_s):
                await self._loop.create_connection(
                    lambda: self._tls or connection, host.strip("[]"), int(port)
                )
                await asyncio.wait((connection.began, connection.ended), return_when=asyncio.FIRST_COMPLETED)
            if not connection.began.done():
                raise ValueError(f"the stream was not taken: {shown(connection.ended.result())}")
            metadata = connection.began.result()
            limit = metadata.get(extension.STREAM, "")
            self._tells_begun = extension.TELLS_BEGUN in metadata
            if not limit.isdigit():
                raise ValueError("the stream was taken for another one")
        except BaseException:
            connection.close()
            if self._tls is not None:
                self._tls.cut_off()  # its handshake may be under way
            raise
        self.limit = int(limit)

    async def infer(self, id: str, message: Sequence[Buffer], part: Part, again: bool = False) -> Any:
        """Send a call; returns its last or only ModelInferResponse. Cancelling the wait ends the call at the pod too.

        Args:
            id: the id of the call.
            message: the serialized ModelInferRequest with this id, in pieces.
            part: gets what comes before the end.
            again: whether the call was lost with another pod before.

        Raises:
            Failed: if the pod answered with an error, or the stream ended; refused if it had ended before, or if the
                call is made `again` and the pod had not accepted it yet.
        """
        if self._connection.over:  # the end is known, but `run` has not seen it yet
            raise Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "the stream has ended", refused=True)
        answer = self._loop.create_future()
        self._answers[id] = (answer, part)
        if again and self._tells_begun:
            self._not_begun.add(id)
        self._connection.send(message)
        try:
            return await answer
        except BaseException:
            if self._answers.pop(id, None) is not None:
                self._connection.send((extension.cancel_to_proto(id).SerializeToString(),))
            raise
        finally:
            if again:
                self._not_begun.discard(id)
            del (
                answer
            )  # it has the error, whose traceback has this frame: a cycle that would keep the request

    async def run(self) -> None:
        """Carry calls until the stream ends or this task is cancelled; calls without an answer then fail."""
        listening = self._loop.create_task(self._listen())
        end = Failed(grpc.StatusCode.CANCELLED, "the channel was closed")
        try:
            ended = await asyncio.shield(self._connection.ended)
            if ended.status == 0:
                end = Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "the pod takes nothing more", refused=True)
            else:  # the status is the stream's and says nothing about a single call
                end = Failed(grpc.StatusCode.UNAVAILABLE, f"the stream broke: {shown(ended)}")
        finally:
            listening.cancel()
            self._connection.close()
            never = Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, end.detail, refused=True)
            for id, (answer, _) in self._answers.items():
                if not answer.done():
                    why = never if id in self._not_begun else end
                    answer.set_exception(Failed(why.code, why.detail, why.refused))
            self._answers.clear()

    async def _listen(self) -> None:
        """Close the connection if it has gone silent, even if the pod still answers on others."""
        connection = self._connection
        while True:
            await asyncio.sleep(self._ping_s)
            heard, unsent, asked = connection.heard, connection.unsent(), self._loop.time()
            connection.ping()
            await asyncio.sleep(self._patience_s)
            silent = connection.heard == heard and connection.unsent() >= unsent
            late = self._loop.time() - asked - self._patience_s
            if silent and late < 0.5:  # else this process was busy, and may have missed the answer
                connection.close()

    def _answered(self, message: Buffer) -> None:
        reply = pb.ModelStreamInferResponse.FromString(message)  # type: ignore[arg-type]  # any buffer will do
        response = reply.infer_response
        waiting = self._answers.get(response.id)
        if waiting is None:
            return  # the caller has left
        answer, part = waiting
        if extension.BEGUN in response.parameters:
            self._not_begun.discard(response.id)
            return
        if extension.PART in response.parameters:
            self._take_part(response, answer, part)
            return
        if part is not None and part.progress is not None and extension.PROGRESS in response.parameters:
            part.progress(response.parameters[extension.PROGRESS].double_param)
            return
        del self._answers[response.id]
        if answer.done():
            return
        if reply.error_message:
            code, detail, refused = extension.failure_from_proto(reply)
            status, kind = CODES.get(code, grpc.StatusCode.UNKNOWN), extension.kind_from_proto(reply)
            answer.set_exception(Failed(status, detail, refused, kind, extension.times_from_proto(response)))
        else:
            answer.set_result(response)

    def _credit(self, id: str, weight: int) -> None:
        if id in self._answers:
            self._connection.send((extension.credit_to_proto(id, weight).SerializeToString(),))

    def _take_part(self, response: Any, answer: asyncio.Future[Any], part: Part) -> None:
        """Pass on one of several answers; an answer that cannot be read fails its call, not the stream."""
        if answer.done() or part is None or part.answer is None:
            return
        try:
            part.answer(response, partial(self._credit, response.id))
        except Exception as error:
            answer.set_exception(error.with_traceback(None))  # it has this frame: a cycle


def shown(ended: Ended) -> str:
    """How a stream ended, as a short text."""
    return f"{NAMES.get(ended.status, 'broken')}{': ' if ended.detail else ''}{ended.detail}"
