"""The messages of the public ModelStreamInfer, as Triton sends them."""

from __future__ import annotations

from inferencehub.core.oip.messages import fill_head, fill_response
from inferencehub.core.oip.raw_fields import LARGE_ANSWER, written_answer
from inferencehub.core.values.requests import InferResponse
from inferencehub.pb import open_inference_pb2 as pb

# Parameter of an answer: whether it is the last one to its request. Triton sets it on each answer of a model, whether or
# not the request has `triton_enable_empty_final_response`.
FINAL = "triton_final_response"


def asks_for_end(message: pb.ModelInferRequest) -> bool:
    """Whether the caller wants a message that says that all answers of a model that gives several have come."""
    return "triton_enable_empty_final_response" in message.parameters and (
        message.parameters["triton_enable_empty_final_response"].bool_param
    )


def stream_answer(response: InferResponse, id: str, final: bool) -> pb.ModelStreamInferResponse | bytes:
    """The message of an answer on a public stream, serialized if it is large.

    Args:
        response: the answer.
        id: the request's id.
        final: whether no other answer to its request follows.
    """
    if response.size >= LARGE_ANSWER:
        head = pb.ModelInferResponse()
        fill_head(head, response, id)
        head.parameters[FINAL].bool_param = final
        return written_answer(head, [tensor.data for tensor in response.outputs], streamed=True)
    reply = pb.ModelStreamInferResponse()
    fill_response(reply.infer_response, response, id)
    reply.infer_response.parameters[FINAL].bool_param = final
    return reply


def stream_end(id: str, model: str) -> bytes:
    """The serialized message that says that a request's answers have all come, for a caller that asked for it."""
    reply = pb.ModelStreamInferResponse()
    reply.infer_response.id, reply.infer_response.model_name = id, model
    reply.infer_response.parameters[FINAL].bool_param = True
    return reply.SerializeToString()


def stream_failure(id: str, detail: str, model: str = "") -> bytes:
    """The serialized answer to a request of a public stream that failed, as Triton sends it.

    Args:
        id: the request's id.
        detail: a sentence for the caller.
        model: the model that failed; "" if the request was refused before it reached one.
    """
    reply = pb.ModelStreamInferResponse(error_message=detail)
    reply.infer_response.id = id
    if model:
        reply.infer_response.model_name = model
        reply.infer_response.parameters[FINAL].bool_param = True
    return reply.SerializeToString()
