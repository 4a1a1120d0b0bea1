"""All streams of ModelStreamInfer of a process: who may open one, how many, and when they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any

import grpc

from inferencehub.core.auth.authentication import AGAIN_S
from inferencehub.core.grpc_server.connections.callers import Callers
from inferencehub.core.grpc_server.refusal import sentence
from inferencehub.core.grpc_server.streams.infer_stream import Answer, InferStream
from inferencehub.core.grpc_server.streams.owned import Owned
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.values.errors import HubError, Kind

MOST_STREAMS = 1000  # of a process
ENDS = HubError(
    Kind.NOT_READY, "the server ends the stream; what it has not answered was not begun, open it again"
)


class InferStreams:
    """All streams of a process.

    Args:
        answer: runs a request.
        most: requests of a stream that run or wait at a time.
        bytes_held: the process's budget of bytes.
        callers: counts what has come, and answers that their callers have not taken.
        admit: called with the context of a stream before it is opened, and every few seconds while it is open; it
            raises HubError to refuse or to end it, and returns who has opened it, "" if nobody is asked.
        longest_s: seconds after which the stream of somebody who was asked is to be opened again.
    """

    def __init__(
        self,
        answer: Answer,
        most: int,
        bytes_held: ByteBudget,
        callers: Callers,
        admit: Callable[[Any], str] = lambda context: "",
        longest_s: float = inf,
    ) -> None:
        self._longest_s = longest_s
        self._admit = admit
        self._owned = Owned()
        self._answer = answer
        self._most = most
        self._bytes_held = bytes_held
        self._callers = callers
        self._open: set[InferStream] = set()
        self._ending = False

    def handler(self) -> Any:
        """The gRPC handler of ModelStreamInfer."""

        async def serve(_: Any, context: Any) -> None:
            try:
                owner = self._opened_by(context)
            except HubError as error:
                await context.abort(grpc.StatusCode[error.kind.grpc], sentence(error))
            stream = InferStream(context, self._answer, self._most, self._bytes_held, self._callers)
            self._open.add(stream)
            looking = asyncio.ensure_future(self._look_again(stream, context)) if owner else None
            try:
                with self._owned.one(owner):
                    await stream.run()
            finally:
                if looking is not None:
                    looking.cancel()
                self._open.discard(stream)
            ended = stream.refused or (ENDS if stream.ending else None)
            if ended is not None:
                await context.abort(grpc.StatusCode[ended.kind.grpc], sentence(ended))

        return grpc.stream_stream_rpc_method_handler(serve)

    def _opened_by(self, context: Any) -> str:
        """Who opens a stream.

        Raises:
            HubError: if there may be no more of them.
        """
        if self._ending:
            raise HubError(ENDS.kind, ENDS.detail)
        owner = self._admit(context)
        if len(self._open) >= MOST_STREAMS:
            raise HubError(Kind.BUSY, f"{MOST_STREAMS} streams are open, which is the most")
        self._owned.check(owner)
        return owner

    async def _look_again(self, stream: InferStream, context: Any) -> None:
        """End a stream when its caller may not have one any more, and when it is to be opened again."""
        ends = monotonic() + self._longest_s
        while True:
            await asyncio.sleep(AGAIN_S)
            if monotonic() >= ends:
                stream.end()
            try:
                self._admit(context)
            except HubError as error:
                stream.refuse(error)
                return

    def open(self) -> int:
        """The number of open streams."""
        return len(self._open)

    def end(self) -> None:
        """Ask all streams to end, and accept no other."""
        self._ending = True
        self.renew()

    def renew(self) -> None:
        """Ask all streams to end; their callers may open others."""
        for stream in list(self._open):
            stream.end()
