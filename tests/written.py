"""Messages of the protocol, serialized as the gateway and the pod do it."""

from __future__ import annotations

from inferencehub.core.oip import messages, raw_fields
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.pb import open_inference_pb2 as pb


def request_to_proto(request: InferRequest, members: str = "") -> pb.ModelInferRequest:
    """A request as a pod reads it."""
    raw = [[tensor.data] for tensor in request.inputs]
    return pb.ModelInferRequest.FromString(
        b"".join(raw_fields.written(messages.request_head(request, members), raw))
    )


def response_to_proto(response: InferResponse, id: str = "") -> pb.ModelInferResponse:
    """An answer as it leaves a pod."""
    message = pb.ModelInferResponse()
    messages.fill_response(message, response, id)
    return message
