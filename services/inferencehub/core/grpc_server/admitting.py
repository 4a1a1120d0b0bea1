"""Who calls is checked before a message is read, and while answers come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from inspect import isasyncgenfunction
from typing import Any, Protocol

import grpc

from inferencehub.core.auth.authentication import AGAIN_S
from inferencehub.core.grpc_server.connections.half_messages import HalfMessages
from inferencehub.core.grpc_server.refusal import end_with, sentence
from inferencehub.core.grpc_server.streams.owned import Owned
from inferencehub.core.process.tasks import cancelled
from inferencehub.core.values.errors import HubError

KINDS = "unary_unary", "unary_stream", "stream_unary", "stream_stream"


class Admission(Protocol):
    """Who may call what."""

    def check(self, method: str, context: Any) -> None:
        """Check a call of the method with this name, by its context.

        Raises:
            HubError: if it is refused.
        """

    def owner(self, context: Any) -> str:
        """Who makes a call that has passed `check`; "" for a gateway."""


class Admitting(grpc.GenericRpcHandler):
    """Handlers whose calls are checked before their messages are read.

    gRPC keeps the exception with which a call ends, and its traceback has the frames here: what they refer to would stay in
    memory until the garbage collector runs, so they let go of it.

    Args:
        handlers: of one or more services.
        admission: says who may call what. A stream of answers is checked again every few seconds, and everybody but
            gateways may have only so many.
        half: counts the messages of refused calls, which no method reads.
    """

    def __init__(
        self,
        handlers: grpc.GenericRpcHandler,
        admission: Admission,
        half: HalfMessages,
    ) -> None:
        self._handlers = handlers
        self._admission = admission
        self._half = half
        self._owned = Owned()

    def service(self, handler_call_details: Any) -> Any:
        """See `grpc.GenericRpcHandler`."""
        found: Any = self._handlers.service(handler_call_details)
        if found is None:
            return None
        name = handler_call_details.method.rpartition("/")[2]
        return found._replace(**{kind: self._checked(getattr(found, kind), name) for kind in KINDS})

    def _checked(self, method: Any, name: str) -> Any:
        """A method that checks its caller first; None for None."""
        if method is None:
            return None

        async def one(request: Any, context: Any) -> Any:
            try:
                refused = self._refused(name, context)
                if refused is None:
                    return await method(request, context)
                self._took(request, context)
                await context.abort(grpc.StatusCode[refused.kind.grpc], sentence(refused))
            finally:
                del request, context

        async def several(request: Any, context: Any) -> AsyncIterator[Any]:
            refused = self._refused(name, context, new=True)
            if refused is None:
                answers = method(request, context)
                del request
                async for answer in self._while_admitted(answers, name, context):
                    yield answer
            else:
                self._took(request, context)
                del request
                end_with(context, refused)

        return several if isasyncgenfunction(method) else one

    def _refused(self, name: str, context: Any, new: bool = False) -> HubError | None:
        """Why a call may not begin or go on; `new` for a stream that begins."""
        try:
            self._admission.check(name, context)
            if new:
                self._owned.check(self._admission.owner(context))
        except HubError as error:
            return error.with_traceback(None)
        return None

    def _took(self, request: Any, context: Any) -> None:
        if isinstance(request, bytes):  # else it is a stream of messages
            self._half.took(len(request), context)

    async def _while_admitted(self, answers: Any, name: str, context: Any) -> AsyncIterator[Any]:
        """The answers, until their caller may have no more."""
        with self._owned.one(self._admission.owner(context)):
            async with aclosing(answers):
                while True:
                    next = asyncio.ensure_future(anext(answers, None))
                    try:
                        while not (await asyncio.wait([next], timeout=AGAIN_S))[0]:
                            refused = self._refused(name, context)
                            if refused is not None:
                                end_with(context, refused)
                                return
                    finally:
                        await cancelled([next])
                    answer = next.result()
                    if answer is None:
                        return
                    yield answer
