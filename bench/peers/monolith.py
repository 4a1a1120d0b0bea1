"""FastAPI with the models inside, one process, no hop: `monolith.py PORT`.

Endpoints are coroutines that run the model directly. For a model that takes microseconds, that is the fastest way: a
thread would only add the time of handing work over. Nothing is logged.
"""

from __future__ import annotations

import sys

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from bench.peers.sessions import means, prediction, sessions

app = FastAPI()
models = sessions()


class Row(BaseModel):
    model_name: str
    features: list[float]


class Prediction(BaseModel):
    class_id: int
    confidence: float


class Picture(BaseModel):
    data: list[float]


class Means(BaseModel):
    means: list[float]


@app.get("/ready")
async def ready() -> bool:
    """Whether it serves."""
    return True


@app.post("/predict")
async def predict(row: Row) -> Prediction:
    """One row of `three` or `digits`."""
    class_id, confidence = prediction(models[row.model_name], row.features)
    return Prediction(class_id=class_id, confidence=confidence)


@app.post("/image")
async def image(picture: Picture) -> Means:
    """A picture as JSON."""
    return Means(means=means(models["image"], picture.data).tolist())


@app.post("/image-bytes")
async def image_bytes(request: Request) -> Response:
    """A picture as float32, the answer too."""
    data = np.frombuffer(await request.body(), np.float32)
    return Response(means(models["image"], data).tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
