"""Every path of the gateway, as one table. The hot ones come first: Starlette's router looks from the top."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from inferencehub.gateway.describe import Describe
from inferencehub.gateway.infer import Calls, Infer, Predict

MODEL = "/v2/models/{model}"
VERSION = "/v2/models/{model}/versions/{version}"


def routes(calls: Calls, describe: Describe) -> list[BaseRoute]:
    """The table."""
    infer = Infer(calls)
    return [
        Route("/predict", Predict(calls), methods=["POST"]),
        Route(f"{MODEL}/infer", infer, methods=["POST"]),
        Route(f"{VERSION}/infer", infer, methods=["POST"]),
        Route("/healthz", describe.healthz),
        Route("/readyz", describe.readyz),
        Route("/v2", describe.server),
        Route("/v2/health/live", describe.live),
        Route("/v2/health/ready", describe.ready),
        Route("/v2/models", describe.models),
        Route(MODEL, describe.model),
        Route(f"{MODEL}/ready", describe.model_ready),
        Route(VERSION, describe.model),
        Route(f"{VERSION}/ready", describe.model_ready),
        Route("/openapi.json", describe.openapi),
        Route("/docs", describe.docs),
    ]
