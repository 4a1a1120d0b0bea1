"""Requests through both tiers, from HTTP to the model and back."""

import re

from tests.hub import running_hub


async def test_predict_answers_from_each_kind_of_model() -> None:
    async with running_hub() as hub:
        status, answer, headers = await hub.post(
            "/predict", {"features": [0.5, 1.2, -3.4], "model_name": "v1-mock"}
        )
        assert (status, answer) == (200, {"class_id": 3, "confidence": 0.94, "error": ""})
        (compute,) = re.findall(r"compute;dur=([\d.]+)", headers["server-timing"])
        assert float(compute) >= 500
        status, answer, _ = await hub.post("/predict", {"text": "I love this, it is not bad at all"})
        assert (status, answer["class_id"], answer["label"]) == (200, 2, "positive")
