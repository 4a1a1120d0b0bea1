"""The first of the naive two tiers: FastAPI, and a stub for each request. `naive_gateway.py aio|sync PORT BACKEND`.

One channel is kept open; nothing is merged, no deadline is set, nothing is logged. With `sync`, the endpoints run in
FastAPI's threads and block there.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

pb, services = grpc.protos_and_services("bench/peers/naive.proto")
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]
kind, port, backend = sys.argv[1:]
app = FastAPI()
channels: list[Any] = []


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


def stub() -> Any:
    """A stub on the one channel, which begins with the first request: grpc.aio binds it to the loop it is made in."""
    if not channels:
        module: Any = grpc.aio if kind == "aio" else grpc
        channels.append(module.insecure_channel(f"127.0.0.1:{backend}", options=OPTIONS))
    return services.ModelsStub(channels[0])


@app.get("/ready")
async def ready() -> bool:
    """Whether it serves."""
    return True


if kind == "aio":

    @app.post("/predict")
    async def predict(row: Row) -> Prediction:
        answer = await stub().Predict(pb.Row(model_name=row.model_name, features=row.features))
        return Prediction(class_id=answer.class_id, confidence=answer.confidence)

    @app.post("/image")
    async def image(picture: Picture) -> Means:
        answer = await stub().Image(pb.Picture(data=picture.data))
        return Means(means=list(answer.means))

    @app.post("/image-bytes")
    async def image_bytes(request: Request) -> Response:
        answer = await stub().ImageBytes(pb.Raw(data=await request.body()))
        return Response(answer.data, media_type="application/octet-stream")

else:

    @app.post("/predict")
    def predict_in_thread(row: Row) -> Prediction:
        answer = stub().Predict(pb.Row(model_name=row.model_name, features=row.features))
        return Prediction(class_id=answer.class_id, confidence=answer.confidence)

    @app.post("/image")
    def image_in_thread(picture: Picture) -> Means:
        return Means(means=list(stub().Image(pb.Picture(data=picture.data)).means))


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)
