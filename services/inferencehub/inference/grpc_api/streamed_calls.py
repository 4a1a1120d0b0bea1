"""ModelStreamInfer on a pod's public port: each message of a stream is a call of its own.

A gateway does not use it; it has its standing streams (`standing_stream.py`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from inferencehub.core.auth.caller import Action
from inferencehub.core.grpc_server.coding import decode
from inferencehub.core.grpc_server.streams.infer_stream import Write, replies
from inferencehub.core.grpc_server.unary import ending
from inferencehub.core.lane.sink import AnswerQueue
from inferencehub.core.oip import messages, stream_messages
from inferencehub.core.oip.raw_fields import read_request
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.inference.grpc_api.call import Call, status_of
from inferencehub.inference.grpc_api.servicer import Servicer

# Requests of a stream at a time. A pod refuses what it has no room for, and it has room for two of any model.
MOST_WAITING = 2


class StreamedCalls:
    """The calls of all streams of callers.

    Args:
        servicer: runs them.
    """

    def __init__(self, servicer: Servicer) -> None:
        self.servicer = servicer

    async def answer(self, data: bytes, context: Any, write: Write) -> bytes:
        """Run the request in a message; see `infer_stream.Answer`."""
        servicer, id, ask_end = self.servicer, "", False
        call: Call | None = None
        try:
            caller = servicer.admission.caller(context)
            caller.require(Action.INFER)
            if len(data) > (limit := servicer.settings.max_message_bytes):
                raise HubError(Kind.TOO_LARGE, f"the request has {len(data)} bytes, expected at most {limit}")
            data, _ = await decode(data, limit)
            message, raw = read_request(data)
            del data
            id, ask_end = message.id, stream_messages.asks_for_end(message)
            call = servicer.called(message, context, caller)
            request = messages.request_from_proto(message, raw)
            del message, raw
            last = await self._run(call, request, id, write)
            return last or (stream_messages.stream_end(id, call.model.name) if ask_end else b"")
        except Exception as error:
            if isinstance(error, HubError):
                servicer.admission.refused(error, context)
            detail = ending(error, "model_stream_infer", None)[1]
        job, model = (call.job, call.model.name) if call is not None else (None, "")
        failure = stream_messages.stream_failure(id, detail, model if job is not None else "")
        if not (ask_end and job is not None and job.has_parts):
            return failure
        await write(failure)
        return stream_messages.stream_end(id, model)

    async def _run(self, call: Call, request: InferRequest, id: str, write: Write) -> bytes:
        """Run a request, and count and log its end."""
        sink, status = AnswerQueue(), "ok"
        calls, limit = self.servicer.calls, self.servicer.settings.max_message_bytes
        calls.begin(call, request, "", sink)
        try:
            again = partial(self._again, call)
            return await replies(sink, id, call.model.name, limit, write, call.credit, again)
        except BaseException as error:
            status = status_of(error)
            raise
        finally:
            del sink  # it has the error, whose traceback has this frame: a cycle that would keep the request
            call.leave()
            calls.end(call, status)

    def _again(self, call: Call) -> None:
        """Check whether a call whose answers go on may do so.

        Raises:
            HubError: if its caller may not have them any more.
        """
        caller = self.servicer.admission.caller(call.context)
        caller.require(Action.INFER)
        caller.require_model(call.model.name)
