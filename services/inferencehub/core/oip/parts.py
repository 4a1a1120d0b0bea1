"""One or more of several answers to a call, as one message of a standing stream (`hub_part`, see `extension.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from inferencehub.core.oip import messages
from inferencehub.core.oip.extension import PART
from inferencehub.core.values.requests import InferResponse
from inferencehub.pb import open_inference_pb2 as pb

Weighed = tuple[InferResponse, int]  # one of several answers, and its weight (`core/lane/sink.py`)


def fill_parts(message: pb.ModelInferResponse, answers: Sequence[Weighed], id: str) -> None:
    """Write answers of one call into an empty message. They have the same number of outputs, and the same parameters."""
    (first, _), *more = answers
    messages.fill_response(message, first, id)
    for response, _ in more:
        messages.add_outputs(message, response)
    message.parameters[PART].string_param = ",".join([str(weight) for _, weight in answers])


def parts_from_proto(message: pb.ModelInferResponse) -> list[Weighed]:
    """The answers in a message.

    Raises:
        ValueError: as `outputs_from_proto`, or if the outputs are not those of so many answers.
    """
    weights = [int(weight) for weight in message.parameters[PART].string_param.split(",")]
    outputs = messages.outputs_from_proto(message)
    parameters = messages.parameters_from_proto(message.parameters)
    each, rest = divmod(len(outputs), len(weights))
    if rest:
        raise ValueError(f"{len(outputs)} outputs for {len(weights)} answers")
    model, version = message.model_name, message.model_version
    return [
        (InferResponse(model, version, outputs[at * each : (at + 1) * each], parameters), weight)
        for at, weight in enumerate(weights)
    ]
