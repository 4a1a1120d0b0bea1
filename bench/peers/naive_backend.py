"""The second of the naive two tiers: a plain gRPC server with the models inside. `naive_backend.py aio|sync PORT`."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np

from bench.peers.sessions import means, prediction, sessions

pb, services = grpc.protos_and_services("bench/peers/naive.proto")
LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Models(services.ModelsServicer):  # type: ignore[name-defined]  # made at run time
    """The service for grpc's threads."""

    def __init__(self) -> None:
        self.models = sessions()

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802  the protocol's name
        class_id, confidence = prediction(self.models[request.model_name], request.features)
        return pb.Prediction(class_id=class_id, confidence=confidence)

    def Image(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.Means(means=means(self.models["image"], request.data).tolist())

    def ImageBytes(self, request: Any, context: Any) -> Any:  # noqa: N802
        data = np.frombuffer(request.data, np.float32)
        return pb.Raw(data=means(self.models["image"], data).tobytes())


class AioModels(services.ModelsServicer):  # type: ignore[name-defined]
    """The same for an event loop."""

    def __init__(self) -> None:
        self.inner = Models()

    async def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.inner.Predict(request, context)

    async def Image(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.inner.Image(request, context)

    async def ImageBytes(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.inner.ImageBytes(request, context)


def serve_threads(address: str) -> None:
    """The sync server."""
    server = grpc.server(ThreadPoolExecutor(10), options=LARGE)
    services.add_ModelsServicer_to_server(Models(), server)
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


async def serve_loop(address: str) -> None:
    """The asyncio server."""
    server = grpc.aio.server(options=LARGE)
    services.add_ModelsServicer_to_server(AioModels(), server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    kind, port = sys.argv[1:]
    if kind == "aio":
        asyncio.run(serve_loop(f"127.0.0.1:{port}"))
    else:
        serve_threads(f"127.0.0.1:{port}")
