"""An answer beyond the limit of a message, of whatever runtime: refused before it is copied into a message."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from tests.hub import running_hub, write_model
from tests.inference.pod_processes import calling_pod
from tests.onnx_files import FLOAT, INT64, one_node, tensor_type
from tests.written import request_to_proto

MIB = 2**20
LIMIT = 2 * MIB
COUNT = 16 * MIB  # numbers of four bytes
SENTENCE = f"model 'zeros' gave an answer of {4 * COUNT} bytes, more than the limit {LIMIT}"


@pytest.fixture
def zeros(tmp_path: Path) -> Path:
    """A repository with an ONNX model that gives as many zeros as its input says."""
    file = one_node("ConstantOfShape", {"n": tensor_type(INT64, [1])}, tensor_type(FLOAT, ["n"]))
    write_model(tmp_path, "zeros", 'backend: "onnx"', {"1/model.onnx": file})
    return tmp_path


async def test_a_pod_refuses_it_before_it_is_a_message(zeros: Path) -> None:
    def request(count: int) -> InferRequest:
        return InferRequest("zeros", "", (Tensor("n", "INT64", (1,), np.int64(count).tobytes()),))

    async with calling_pod(zeros, max_message_bytes=LIMIT) as pod:
        answer = await pod.infer(request_to_proto(request(3)))
        assert list(answer.raw_output_contents) == [bytes(12)]
        tracemalloc.start()
        try:
            assert await pod.refusal(request_to_proto(request(COUNT))) == ("INTERNAL", SENTENCE)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 1.5 * 4 * COUNT  # the model's own array, and no copy
        answer = await pod.infer(request_to_proto(request(LIMIT // 8)))
        assert list(answer.raw_output_contents) == [bytes(LIMIT // 2)]


async def test_a_stream_of_a_gateway_refuses_it_before_it_is_a_message(zeros: Path) -> None:
    def body(count: int) -> dict[str, object]:
        return {"inputs": [{"name": "n", "datatype": "INT64", "shape": [1], "data": [count]}]}

    async with running_hub(zeros, pod={"max_message_bytes": LIMIT}) as hub:
        status, answer, _ = await hub.post("/v2/models/zeros/infer", body(3))
        assert (status, answer["outputs"][0]["data"]) == (200, [0.0, 0.0, 0.0])
        tracemalloc.start()
        try:
            status, answer, _ = await hub.post("/v2/models/zeros/infer", body(COUNT))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (status, answer) == (500, {"error": SENTENCE})
        assert peak < 1.5 * 4 * COUNT
