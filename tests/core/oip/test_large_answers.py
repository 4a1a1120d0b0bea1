"""Large answers are written without protobuf, and are the same messages."""

from __future__ import annotations

import os

import pytest

from inferencehub.core.oip import messages, stream_messages
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import open_inference_pb2 as pb

SIZES = [(0,), (10, 0), (2**15 - 1,), (2**15,), (100_000, 1, 7), (2**21,)]


def answer(sizes: tuple[int, ...]) -> InferResponse:
    """An answer with outputs of these sizes."""
    outputs = [
        Tensor(f"y{at}", "UINT8", (size,), memoryview(os.urandom(size))) for at, size in enumerate(sizes)
    ]
    return InferResponse("model", "3", tuple(outputs), {"seen": 7, "said": "so"})


@pytest.mark.parametrize("sizes", SIZES)
def test_an_answer_is_the_message_that_protobuf_would_write(sizes: tuple[int, ...]) -> None:
    response = answer(sizes)
    expected = pb.ModelInferResponse()
    messages.fill_response(expected, response, "an id")
    found = messages.answer_to_proto(response, "an id")
    large = response.size >= 2**15
    assert isinstance(found, bytes) == large
    assert (pb.ModelInferResponse.FromString(found) if isinstance(found, bytes) else found) == expected


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_so_is_an_answer_on_a_stream(sizes: tuple[int, ...], final: bool) -> None:
    response = answer(sizes)
    expected = pb.ModelStreamInferResponse()
    messages.fill_response(expected.infer_response, response, "an id")
    expected.infer_response.parameters["triton_final_response"].bool_param = final
    found = stream_messages.stream_answer(response, "an id", final)
    assert (pb.ModelStreamInferResponse.FromString(found) if isinstance(found, bytes) else found) == expected
