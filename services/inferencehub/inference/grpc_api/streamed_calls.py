"""ModelStreamInfer on a pod's public port: each message of a stream is a call of its own.

A gateway does not use it; it has its standing streams (`standing_stream.py`).
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from google.protobuf.message import Message

from inferencehub.core.grpc_server.unary import ending
from inferencehub.core.oip import messages
from inferencehub.core.oip.raw_fields import read_request
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.inference.grpc_api.call import Call
from inferencehub.inference.grpc_api.servicer import Servicer
from inferencehub.pb import open_inference_pb2 as pb

# Requests of a stream at a time. A pod refuses what it has no room for, and it has room for two of any model.
MOST_WAITING = 2


class StreamedCalls:
    """The calls of all streams of callers.

    Args:
        servicer: runs them.
    """

    def __init__(self, servicer: Servicer) -> None:
        self.servicer = servicer

    async def answer(self, data: bytes, context: Any) -> bytes:
        """Run the request in a message; returns the serialized ModelStreamInferResponse."""
        servicer, id = self.servicer, ""
        call: Call | None = None
        try:
            if len(data) > (limit := servicer.settings.max_message_bytes):
                raise HubError(Kind.TOO_LARGE, f"the request has {len(data)} bytes, expected at most {limit}")
            message, raw = read_request(data)
            del data
            id = message.id
            call = Call(
                servicer.models.get(message.model_name, message.model_version), id, context, monotonic()
            )

            def reply(response: InferResponse) -> Message:
                filled = pb.ModelStreamInferResponse()
                messages.fill_response(filled.infer_response, response, id)
                filled.infer_response.parameters[messages.FINAL].bool_param = True
                return filled

            return await servicer.infer(call, messages.request_from_proto(message, raw), "", reply)
        except Exception as error:
            detail = ending(error, "model_stream_infer", None)[1]
        reached = call.model.name if call is not None and call.job is not None else ""
        return messages.stream_failure(id, detail, reached)
