"""The confidence in the answer of /predict: the model's own number, correctly rounded to six digits."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.hub import running_hub, write_model

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
