"""ModelStreamInfer at the gateway: each message of a stream is a call of its own, as `core/grpc_server/infer_stream.py`
says.
"""

from __future__ import annotations

from typing import Any

from inferencehub.core.grpc_server.unary import own_limit, sentence, written
from inferencehub.core.oip import messages
from inferencehub.core.oip.raw_fields import read_request
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.grpc_api.edge import Edge
from inferencehub.gateway.grpc_api.infer import Infer
from inferencehub.pb import open_inference_pb2 as pb

METHOD = "ModelStreamInfer"
MOST_WAITING = 64  # requests of a stream at a time


class StreamedCalls:
    """The calls of all streams.

    Args:
        edge: what each call passes on its way in and out.
        infer: runs them.
    """

    def __init__(self, edge: Edge, infer: Infer) -> None:
        self.edge = edge
        self.infer = infer

    async def answer(self, data: bytes, context: Any) -> bytes:
        """Run the request in a message; returns the serialized ModelStreamInferResponse."""
        edge = self.edge
        metadata = context.invocation_metadata() or ()
        exchange = edge.begin(metadata)
        id, error = "", None
        try:
            exchange.limit_s = own_limit(context)
            edge.check(exchange, metadata, len(data))
            message, raw = read_request(data)
            del data
            id = message.id
            reply = pb.ModelStreamInferResponse()
            await self.infer.fill(reply.infer_response, exchange, message, raw)
            reply.infer_response.parameters[messages.FINAL].bool_param = True
            return written(reply, exchange.model, edge.most_answer_bytes)
        except BaseException as raised:
            error = edge.failure(exchange, raised)
            if not isinstance(raised, Exception):
                raise
        finally:
            edge.close(exchange, METHOD, error)
        assert isinstance(error, HubError)
        reached = exchange.model if exchange.job is not None else ""
        return messages.stream_failure(id, sentence(error), reached)
