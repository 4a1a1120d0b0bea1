"""All paths of the gateway: endpoints for calls of models, Starlette routes for everything else."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.call import Endpoint
from inferencehub.gateway.http_api.metadata import Metadata
from inferencehub.gateway.http_api.openai.embeddings import Embeddings
from inferencehub.gateway.http_api.openai.generation import Generation
from inferencehub.gateway.http_api.predict import Predict
from inferencehub.gateway.http_api.v1.models import ModelPagesV1
from inferencehub.gateway.http_api.v1.predict import PredictV1
from inferencehub.gateway.http_api.v2.control import ControlPages
from inferencehub.gateway.http_api.v2.generate import Generate
from inferencehub.gateway.http_api.v2.infer import Infer
from inferencehub.gateway.http_api.v2.models import ModelPages
from inferencehub.gateway.http_api.v2.settings import SettingPages
from inferencehub.gateway.json_codec.openai.generation_json import CHAT, COMPLETION

Page = Callable[[Request], Awaitable[Response]]
MODEL = "/v2/models/{model}"
VERSION = "/v2/models/{model}/versions/{version}"
# The paths of endpoints, as the OpenAPI document writes them.
CALLS = ("infer", "generate", "generate_stream")
ENDPOINTS = (
    "/predict",
    *[f"{path}/{call}" for path in (MODEL, VERSION) for call in CALLS],
    "/v1/models/{model}:predict",
    "/v1/models/{model}/versions/{version}:predict",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
)
CALLED = re.compile(rf"/v2/models/([^/]+)(?:/versions/([^/]+))?/({'|'.join(CALLS)})")
PREDICT_V1 = re.compile(r"/v1/models/([^/:]+)(?:/versions/([^/:]+))?(:predict)")
PARAMETER = re.compile(r"\{[^}]*\}")  # of a route
# Endpoints that are kept by their targets, and bytes of a target: there are limits because callers choose them.
MAX_KEPT, MAX_TARGET = 1000, 256
KEEP_ALIVE_S = 15.0


def endpoints(
    calls: Calls,
    keep_alive_s: float = KEEP_ALIVE_S,
    others: Callable[[str], Endpoint | None] = lambda path: None,
) -> Callable[[bytes], Endpoint | None]:
    """A function that returns the endpoint of a target; None for a target that is not an endpoint.

    Args:
        calls: where requests go.
        keep_alive_s: seconds of silence after which a stream of events gets a comment.
        others: returns the endpoint of a path that calls no model; None if it has none.
    """
    fixed: dict[str, Endpoint] = {
        "/predict": Predict(calls),
        "/v1/chat/completions": Generation(calls, CHAT, keep_alive_s),
        "/v1/completions": Generation(calls, COMPLETION, keep_alive_s),
        "/v1/embeddings": Embeddings(calls),
    }
    known = {path.encode(): endpoint for path, endpoint in fixed.items()}

    def find(target: bytes) -> Endpoint | None:
        if target in known:
            return known[target]
        path = unquote(target.partition(b"?")[0].decode("latin-1"))
        if path in fixed:
            return fixed[path]
        called = CALLED.fullmatch(path) or PREDICT_V1.fullmatch(path)
        if called is None:
            return others(path)
        model, version = called[1], called[2] or ""
        endpoint: Endpoint
        if called[3] == "infer":
            endpoint = Infer(calls, model, version)
        elif called[3] == ":predict":
            endpoint = PredictV1(calls, model, version)
        else:
            endpoint = Generate(calls, model, version, called[3] == "generate_stream", keep_alive_s)
        if len(known) < MAX_KEPT and len(target) <= MAX_TARGET:
            known[target] = endpoint
        return endpoint

    return find


def route_finder(pages: Sequence[BaseRoute]) -> Callable[[str], str]:
    """A function that returns the route of a path as the OpenAPI document writes it; "" for a path that is none.

    Args:
        pages: the Starlette routes.
    """
    routes = [*ENDPOINTS, *[route.path for route in pages if isinstance(route, Route)]]
    known = [(re.compile(PARAMETER.sub("[^/]+", re.sub(r"[.]", r"\\.", route))), route) for route in routes]

    def find(path: str) -> str:
        path = unquote(path)
        return next((route for pattern, route in known if pattern.fullmatch(path)), "")

    return find


def pages(
    metadata: Metadata,
    models: ModelPages,
    models_v1: ModelPagesV1,
    settings: SettingPages,
    control: ControlPages,
    jobs: Sequence[BaseRoute],
) -> list[BaseRoute]:
    """The Starlette routes; `jobs` are those of jobs."""
    return [
        Route("/healthz", metadata.healthz),
        Route("/readyz", metadata.readyz),
        Route("/", metadata.root),
        Route("/v2", metadata.server),
        Route("/v2/", metadata.server),
        Route("/v2/health/live", metadata.live),
        Route("/v2/health/ready", metadata.ready),
        Route("/v2/models", metadata.models),
        Route("/v2/models/stats", models.statistics),  # before the model that would be called so
        *versioned("", models.metadata),
        *versioned("/config", models.config),
        *versioned("/stats", models.statistics),
        *versioned("/ready", models.ready),
        Route(f"{MODEL}/traffic", models.traffic),
        Route("/v2/repository/index", models.index, methods=["POST"]),
        *control.routes(),
        Route("/v2/usage", metadata.used),
        Route("/v2/logging", settings.logging, methods=["GET", "POST"]),
        Route("/v2/trace/setting", settings.tracing),
        Route(f"{MODEL}/trace/setting", settings.tracing),
        Route("/v1/models", models_v1.models),
        Route("/v1/models/{model}", models_v1.model),
        Route("/v1/models/{model}/versions/{version}", models_v1.model),
        *jobs,
        Route("/openapi.json", metadata.openapi),
        Route("/docs", metadata.docs),
    ]


def versioned(path: str, page: Page) -> list[BaseRoute]:
    """The routes of a page about a model: its default version, and the version that the path names."""
    return [Route(MODEL + path, page), Route(VERSION + path, page)]
