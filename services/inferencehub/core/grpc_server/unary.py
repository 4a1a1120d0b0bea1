"""What unary methods need: requests from their bytes, answers within the size limit, errors as status codes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from inferencehub.core.grpc_server.coding import decode, encode
from inferencehub.core.grpc_server.connections.callers import Callers
from inferencehub.core.grpc_server.refusal import no_message, sentence
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.oip import extension
from inferencehub.core.values.errors import HubError, Kind, bad_input

logger = logging.getLogger(__name__)

Method = Callable[[Any, Any], Awaitable[Message | bytes]]
NO_DEADLINE_S = 1e9  # gRPC reports more than this as the remaining time of a call without a deadline
EARLY_S = 0.05  # a cancellation may overtake the deadline by so much


def written(answer: Message | bytes, model: str, limit: int) -> bytes:
    """Serialize a model's answer, if it is not serialized yet.

    Raises:
        HubError: MODEL_FAILED if it has more than `limit` bytes.
    """
    data = answer if isinstance(answer, bytes) else answer.SerializeToString()
    if len(data) > limit:
        check_size(len(data), model, limit)
    return data


def check_size(size: int, model: str, limit: int) -> None:
    """Refuse an answer of more than `limit` bytes. A large one is to be refused before it is copied into a message.

    Raises:
        HubError: MODEL_FAILED.
    """
    if size > limit:
        detail = f"model '{model}' gave an answer of {size} bytes, more than the limit {limit}"
        raise HubError(Kind.MODEL_FAILED, detail)


def unary(
    method: Method,
    request: type[Message] | None,
    limit: int,
    bytes_held: ByteBudget,
    callers: Callers,
    refused: Callable[[HubError, Any], None] = lambda error, context: None,
) -> Any:
    """Make a unary gRPC handler from a method. If the method raises, the handler answers with the error's status code.

    Args:
        method: gets the request message and the gRPC context.
        request: class of the request message; None if the method wants the serialized bytes.
        limit: the largest request in bytes. gRPC itself refuses only what is twice as large (see `options`), with a
            status that means "busy", and without a sentence of ours.
        bytes_held: the process's budget of bytes. A request beyond the limit counts in it until it is answered; others
            count as soon as they are in a lane.
        callers: counts what has come, and large answers until their callers have taken them.
        refused: gets each error that is a caller's to know, and the call's context.
    """

    async def call(data: bytes, context: Any) -> bytes | None:
        message: Any = None
        callers.half.took(len(data), context)
        beyond = len(data) if len(data) > limit else 0
        try:
            if beyond:
                bytes_held.add(beyond)
                raise HubError(Kind.TOO_LARGE, f"the request has {len(data)} bytes, expected at most {limit}")
            data, coding = await decode(data, limit)
            message = data if request is None else parsed(request, data)
            answer = await method(message, context)
            data = answer if isinstance(answer, bytes) else answer.SerializeToString()
            if coding:
                await encode(data, coding, context)
            callers.unread.hold(len(data), context)
            return data
        except Exception as error:
            if isinstance(error, HubError):
                refused(error, context)
            kind, detail = ending(error, method.__name__, message if request else None)
        trailers = [(extension.KIND, kind.label)]
        if kind is Kind.BUSY:
            trailers.append((extension.REFUSED, "1"))
        try:
            await context.abort(grpc.StatusCode[kind.grpc], detail, tuple(trailers))
        finally:  # gRPC keeps the exception, whose traceback has this frame: a cycle that would keep the request
            bytes_held.give(beyond)
            del message, context, data
        return None

    return grpc.unary_unary_rpc_method_handler(call)


def parsed(request: type[Message], data: bytes) -> Message:
    """A request message from its bytes.

    Raises:
        HubError: BAD_INPUT if the bytes are no such message.
    """
    try:
        return request.FromString(data)
    except DecodeError:
        raise bad_input(no_message(request.DESCRIPTOR.name)) from None


def own_limit(context: Any) -> float | None:
    """Seconds until the deadline that the caller set for the gRPC call; None if there is none."""
    left: float | None = context.time_remaining()
    return None if left is None or left > NO_DEADLINE_S else left


def at_deadline(left_s: float | None, limit_s: float) -> bool:
    """Whether a call that gRPC has cancelled has come to its deadline, and its caller has not left before.

    The caller cancels at its deadline too, a little earlier: it sends its limit rounded up by at most 1 %.

    Args:
        left_s: seconds until the deadline; None if there is none.
        limit_s: seconds that the call had at its beginning.
    """
    return left_s is not None and left_s <= EARLY_S + limit_s / 100


def ending(error: Exception, method: str, message: Message | None) -> tuple[Kind, str]:
    """The answer to an error: its kind and a sentence. BUSY says that the call was refused before it started.

    An error that is not a `HubError` is logged with its traceback; the caller gets a general sentence.

    Args:
        error: the error.
        method: name of the method, for the log.
        message: the request, for the log; None if it is not to be logged.
    """
    if isinstance(error, HubError):
        return error.kind, sentence(error)
    shown = text_format.MessageToString(message, as_one_line=True)[:200] if message is not None else ""
    logger.error("call failed", exc_info=error, extra={"method": method, "request": shown})
    return Kind.MODEL_FAILED, "the service failed on this call; its log says why"
