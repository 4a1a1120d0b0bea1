"""Questions know their answers, and send what they claim to send."""

from __future__ import annotations

import json

import pytest

from bench.load.questions import MODELS, picture_bytes, v2_binary


@pytest.mark.parametrize("model", MODELS)
def test_a_question_knows_its_answer(model: str) -> None:
    case = MODELS[model].cases()[0]
    right = list(case.numbers) or [float(index == case.best) for index in range(MODELS[model].width)]
    assert case.holds(right)
    assert not case.holds(right[::-1])
    assert not case.holds([])


def test_bytes_are_asked_with_the_whole_tensor_once() -> None:
    size = 3 * 224 * 224 * 4
    assert len(picture_bytes("image")[0].body) == size
    question = v2_binary("image")[0]
    head = int(question.headers["Inference-Header-Content-Length"])
    assert len(question.body) == head + size
    assert json.loads(question.body[:head])["inputs"][0]["parameters"]["binary_data_size"] == size
