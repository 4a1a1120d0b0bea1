"""The mock runtime: the same answer for the same input and seed, and which parameters it refuses."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.mock import Mock
from inferencehub.inference.runtimes.runtime import ModelSource
from inferencehub.inference.runtimes.support.arrays import to_array
from tests.inference.runtimes.one_answer import run_once

CONFIG = """backend: "mock"
input { name: "features" data_type: TYPE_FP32 dims: [-1] }
output { name: "confidence" data_type: TYPE_FP32 dims: [1] }
output { name: "class_id" data_type: TYPE_INT32 dims: [1] }
"""


def mock(**parameters: str) -> Mock:
    config = parse_config(CONFIG, "m")
    for name, value in parameters.items():
        config.parameters[name].string_value = value
    return Mock(ModelSource("m", "1", Path(), Path(), config, 1))


async def answers(runtime: Mock) -> list[tuple[float, int]]:
    await runtime.load()
    found = []
    for value in range(40):
        request = InferRequest("m", "1", (Tensor("features", "FP32", (1,), value.to_bytes(4, "little")),))
        confidence, number = await run_once(runtime, 0, request, monotonic() + 20)
        found.append((float(to_array(confidence)[0]), int(to_array(number)[0])))
    return found


async def test_an_answer_is_drawn_from_seed_and_input() -> None:
    first = await answers(mock(delay_ms="0", seed="1"))
    assert first == await answers(mock(delay_ms="0", seed="1"))
    assert first != await answers(mock(delay_ms="0", seed="2"))
    assert {number for _, number in first} == set(range(5))
    assert all(0.849 < confidence < 0.991 for confidence, _ in first)
    assert {number for _, number in await answers(mock(delay_ms="0", classes="2"))} == {0, 1}


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"classes": "0"}, "classes is 0, expected 1 or more, as many as INT32 holds"),
        ({"classes": "-3"}, "classes is -3, expected 1 or more, as many as INT32 holds"),
        ({"classes": "2147483648"}, "classes is 2147483648, expected 1 or more, as many as INT32 holds"),
        ({"delay_ms": "-1"}, "delay_ms is -1, expected 0 or more"),
        ({"delay_ms": "nan"}, "delay_ms is nan, expected 0 or more"),
        ({"delay_ms": "inf"}, "delay_ms is inf, expected 0 or more"),
        ({"delay_ms": "soon"}, "parameters delay_ms and classes are numbers, got could not convert"),
        ({"classes": "2.5"}, "parameters delay_ms and classes are numbers, got invalid literal"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters: dict[str, str], sentence: str) -> None:
    with pytest.raises(HubError) as caught:
        mock(**parameters)
    assert caught.value.kind is Kind.BAD_INPUT
    assert caught.value.detail.startswith(f"config.pbtxt: {sentence}")
