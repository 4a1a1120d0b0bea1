"""Every path of the gateway, as one table. The hot ones come first: Starlette's router looks from the top."""

from __future__ import annotations

import re
from collections.abc import Callable

from starlette.routing import BaseRoute, Route

from inferencehub.gateway.http_api.direct import Endpoint
from inferencehub.gateway.http_api.infer import Calls, Infer, InferShort, Predict
from inferencehub.gateway.http_api.metadata import Describe

MODEL = "/v2/models/{model}"
VERSION = "/v2/models/{model}/versions/{version}"
INFER_URL = re.compile(rb"/v2/models/([\w.-]+)(?:/versions/([\w.-]+))?/infer")


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


def short_routes(calls: Calls) -> Callable[[bytes], Endpoint | None]:
    """The calls of models once more, by the URLs as nearly all callers write them: nothing escaped, no query."""
    predict = Predict(calls)

    def find(url: bytes) -> Endpoint | None:
        if url == b"/predict":
            return predict
        called = INFER_URL.fullmatch(url)
        return InferShort(calls, called[1].decode(), (called[2] or b"").decode()) if called else None

    return find
