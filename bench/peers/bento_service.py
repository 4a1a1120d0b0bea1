"""BentoML's service: `bentoml serve bento_service:Models`."""

from __future__ import annotations

from typing import Any

import bentoml
import numpy as np

from bench.peers.sessions import means, prediction, sessions


@bentoml.service(workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Models:
    """All models of the bench, in one worker."""

    def __init__(self) -> None:
        self.models = sessions()

    @bentoml.api
    async def predict(self, model_name: str, features: list[float]) -> dict[str, Any]:
        class_id, confidence = prediction(self.models[model_name], features)
        return {"class_id": class_id, "confidence": confidence}

    @bentoml.api
    async def image(self, data: np.ndarray) -> dict[str, Any]:  # it takes no arguments here
        return {"means": means(self.models["image"], data).tolist()}
