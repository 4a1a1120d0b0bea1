"""Calls of /predict: the confidence is the model's own number, rounded to six digits; and which model is the default."""

from __future__ import annotations

import shutil
from pathlib import Path

import aiohttp
import pytest

from tests.hub import MODELS, mock_model, running_hub, write_model

CONFIG = """backend: "python"
    input { name: "x" data_type: TYPE_FP64 dims: [1] }
    output { name: "class" data_type: TYPE_INT32 dims: [1] }
    output { name: "sure" data_type: TYPE_FP64 dims: [1] }
    parameters { key: "predict_class" value { string_value: "class" } }
    parameters { key: "predict_confidence" value { string_value: "sure" } }"""
ECHO = """
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"class": np.zeros_like(inputs["x"], dtype=np.int32), "sure": inputs["x"]}
"""
# The first two lie beside a tie, and become one if they are multiplied by a million; the third is a tie.
CONFIDENCES = (0.5000015, 0.5000025, 0.0078125, 0.9999996, 1e-7, 1e305)


@pytest.mark.asyncio
async def test_a_confidence_is_rounded_correctly(tmp_path: Path) -> None:
    write_model(tmp_path, "echo", CONFIG, {"1/model.py": ECHO})
    async with running_hub(tmp_path, hold_s=20.0) as hub, aiohttp.ClientSession() as client:
        for sure in CONFIDENCES:
            body = {"features": [sure], "model_name": "echo"}
            async with client.post(f"{hub.url}/predict", json=body) as answer:
                assert (await answer.json())["confidence"] == round(sure, 6)


@pytest.mark.asyncio
async def test_the_default_model_goes_by_the_kind_of_input(tmp_path: Path) -> None:
    mock_model(tmp_path)
    shutil.copytree(MODELS / "sentiment", tmp_path / "sentiment")
    async with running_hub(tmp_path, default_model="quick") as hub:
        status, answer, _ = await hub.post("/predict", {"features": [1]})
        assert (status, "label" in answer) == (200, False)
        status, answer, _ = await hub.post("/predict", {"text": "what a wonderful day"})
        assert (status, answer["label"]) == (200, "positive")
        status, answer, _ = await hub.post("/predict", {"text": "awful", "model_name": "sentiment"})
        assert (status, answer["label"]) == (200, "negative")
