"""Endpoints of the server's settings, and of Triton's features that this server does not have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from inferencehub.core.oip.admin.log_settings import LogSettings, trace_json
from inferencehub.core.oip.admin.unsupported import no_region, unsupported
from inferencehub.gateway.http_api.page import body_of, caller_of, json
from inferencehub.gateway.routing.model_queries import ModelQueries

Page = Callable[[Request], Awaitable[Response]]
MODEL = "/v2/models/{model}"
VERSION = MODEL + "/versions/{version}"
POST = ["POST"]


class SettingPages:
    """The endpoints of settings.

    Args:
        logs: the log settings of this process.
        queries: knows the models.
    """

    def __init__(self, logs: LogSettings, queries: ModelQueries) -> None:
        self.logs = logs
        self.queries = queries

    async def logging(self, request: Request) -> Response:
        """GET /v2/logging: the log settings. POST: change those that the body names, and answer all.

        Raises:
            HubError: as `LogSettings.change`.
        """
        if request.method == "POST":
            self.logs.change(await body_of(request, dict[str, object]))
        return json(self.logs.read())

    async def tracing(self, request: Request) -> Response:
        """GET /v2/trace/setting and …/{model}/trace/setting: the trace settings, which say that tracing is off.

        Raises:
            HubError: NOT_FOUND or NOT_READY if the path names a model that is not there.
        """
        if "model" in request.path_params:
            await self.queries.metadata(caller_of(request), request.path_params["model"], "")
        return json(trace_json())


def absent() -> list[BaseRoute]:
    """The routes of features that are not there. Questions about them and their end succeed, as there is nothing."""
    routes = [
        Route("/v2/trace/setting", refusing("tracing"), methods=POST),
        Route(f"{MODEL}/trace/setting", refusing("tracing"), methods=POST),
    ]
    for kind in ("system", "cuda"):
        path = f"/v2/{kind}sharedmemory"
        routes += [
            Route(f"{path}/status", no_regions),
            Route(f"{path}/region/{{region}}/status", unknown_region(kind)),
            Route(f"{path}/region/{{region}}/register", refusing("shared memory"), methods=POST),
            Route(f"{path}/region/{{region}}/unregister", nothing_to_end, methods=POST),
            Route(f"{path}/unregister", nothing_to_end, methods=POST),
        ]
    return list(routes)


def refusing(feature: str) -> Page:
    """A page that refuses a feature."""

    async def refuse(request: Request) -> Response:
        raise unsupported(feature)

    return refuse


def unknown_region(kind: str) -> Page:
    """A page that knows no region."""

    async def refuse(request: Request) -> Response:
        raise no_region(kind, request.path_params["region"])

    return refuse


async def no_regions(request: Request) -> Response:
    """GET …/status: all shared memory regions, of which there are none."""
    return json([])


async def nothing_to_end(request: Request) -> Response:
    """POST …/unregister: succeeds as in Triton, which does not look whether there was such a region."""
    return json({})
