"""Several answers in one message: they come back as they were."""

from __future__ import annotations

import pytest

from inferencehub.core.oip import extension
from inferencehub.core.oip.parts import fill_parts, parts_from_proto
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import open_inference_pb2 as pb


def answer(at: int, outputs: int) -> InferResponse:
    """The answer number `at`, with so many outputs."""
    tensors = [Tensor(f"y{n}", "INT32", (1,), bytes([10 * at + n] * 4)) for n in range(outputs)]
    return InferResponse("m", "1", tuple(tensors), {"for": "all"})


@pytest.mark.parametrize("outputs", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 3])
def test_answers_come_back_as_they_were(outputs: int, count: int) -> None:
    answers = [(answer(at, outputs), 500 + at) for at in range(count)]
    message = pb.ModelInferResponse()
    fill_parts(message, answers, "an-id")
    assert message.id == "an-id"
    assert parts_from_proto(pb.ModelInferResponse.FromString(message.SerializeToString())) == answers


def test_outputs_that_are_not_those_of_so_many_answers_are_refused() -> None:
    message = pb.ModelInferResponse()
    fill_parts(message, [(answer(at, 1), 500) for at in range(3)], "")
    message.parameters[extension.PART].string_param = "500,500"
    with pytest.raises(ValueError, match="3 outputs for 2 answers"):
        parts_from_proto(message)
