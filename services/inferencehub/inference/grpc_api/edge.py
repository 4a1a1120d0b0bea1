"""The edge of gRPC: answers are written within the limit, and errors become status codes, here and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import text_format
from google.protobuf.message import Message

from inferencehub.core.oip import extension
from inferencehub.core.values.errors import HubError, Kind

logger = logging.getLogger(__name__)

Method = Callable[[Any, Any], Awaitable[Message | bytes]]
DETAIL_LIMIT = 1000  # bytes; gRPC writes each as up to three and takes headers of 8 KiB


def written(answer: Message, model: str, limit: int) -> bytes:
    """A message as bytes.

    Raises:
        HubError: MODEL_FAILED where they are more than `limit`.
    """
    data = answer.SerializeToString()
    if len(data) > limit:
        detail = f"model '{model}' gave an answer of {len(data)} bytes, more than the limit {limit}"
        raise HubError(Kind.MODEL_FAILED, detail)
    return data


def unary(method: Method, request: type[Message] | None) -> Any:
    """A method as a unary handler that answers an error with its status code; it gets bytes where `request` is None."""

    async def call(message: Any, context: Any) -> bytes | None:
        try:
            answer = await method(message, context)
            return answer if isinstance(answer, bytes) else answer.SerializeToString()
        except Exception as error:
            code, detail, refused = ending(error, method.__name__, message if request else None)
            trailer = ((extension.REFUSED, "1"),) if refused else ()
            await context.abort(grpc.StatusCode[code], detail, trailer)
            return None

    return grpc.unary_unary_rpc_method_handler(call, request.FromString if request else None)


def ending(error: Exception, method: str, message: Message | None) -> tuple[str, str, bool]:
    """What a caller is told of an error: status code, sentence, and whether the call was never begun."""
    if isinstance(error, HubError):
        detail = error.detail.encode(errors="replace")[:DETAIL_LIMIT].decode(errors="ignore")
        return error.kind.grpc, detail, error.kind is Kind.BUSY
    shown = text_format.MessageToString(message, as_one_line=True)[:200] if message is not None else ""
    logger.error("call failed", exc_info=error, extra={"method": method, "request": shown})
    return "INTERNAL", "the service failed on this call; its log says why", False
