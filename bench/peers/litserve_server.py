"""LitServe: `litserve_server.py PORT`, one worker an endpoint, as it is by default.

It looks at the annotation of `request`, so that must be a class here and no text.
"""

import sys
from typing import Any

import litserve
from fastapi import Request

from bench.peers.sessions import Run, means, prediction, session, sessions


class Rows(litserve.LitAPI):
    """POST /predict."""

    models: dict[str, Run]

    def setup(self, device: str) -> None:
        self.models = sessions()

    def decode_request(self, request: Request, **kwargs: Any) -> tuple[str, list[float]]:
        body: Any = request  # decoded by now
        row: tuple[str, list[float]] = body["model_name"], body["features"]
        return row

    def predict(self, x: tuple[str, list[float]], **kwargs: Any) -> tuple[int, float]:
        return prediction(self.models[x[0]], x[1])

    def encode_response(self, output: tuple[int, float], **kwargs: Any) -> dict[str, Any]:
        return {"class_id": output[0], "confidence": output[1]}


class Picture(litserve.LitAPI):
    """POST /image."""

    model: Run

    def setup(self, device: str) -> None:
        self.model = session("image")

    def decode_request(self, request: Request, **kwargs: Any) -> list[float]:
        body: Any = request
        data: list[float] = body["data"]
        return data

    def predict(self, x: list[float], **kwargs: Any) -> Any:
        return means(self.model, x)

    def encode_response(self, output: Any, **kwargs: Any) -> dict[str, Any]:
        return {"means": output.tolist()}


if __name__ == "__main__":
    apis = [Rows(api_path="/predict"), Picture(api_path="/image")]
    server = litserve.LitServer(apis, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
