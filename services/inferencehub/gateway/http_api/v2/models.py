"""Endpoints that ask about models: metadata, configuration, readiness, statistics, and the repository index."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from inferencehub.core.oip.admin.message_json import message_json
from inferencehub.gateway.http_api.page import body_of, caller_of, json
from inferencehub.gateway.routing.model_queries import ModelQueries


class IndexBody(msgspec.Struct):
    """The body of a request for the repository index."""

    ready: bool | None = None


class ModelPages:
    """The endpoints; a path with a model may have a version.

    Args:
        queries: answers the questions.
    """

    def __init__(self, queries: ModelQueries) -> None:
        self.queries = queries

    async def metadata(self, request: Request) -> Response:
        """GET /v2/models/{model}: inputs and outputs.

        Raises:
            HubError: NOT_FOUND or NOT_READY.
        """
        return json(message_json(await self.queries.metadata(caller_of(request), *asked(request))))

    async def config(self, request: Request) -> Response:
        """GET …/config: the configuration, with what it leaves out filled in.

        Raises:
            HubError: NOT_FOUND or NOT_READY.
        """
        return json(message_json(await self.queries.config(caller_of(request), *asked(request))))

    async def ready(self, request: Request) -> Response:
        """GET …/ready: 200 if the model can be called now.

        Raises:
            HubError: NOT_FOUND, or NOT_READY if no pod serves the model.
        """
        name, version = asked(request)
        await self.queries.require_ready(caller_of(request), name, version)
        return json({"name": name, "ready": True})

    async def statistics(self, request: Request) -> Response:
        """GET /v2/models/stats and …/stats: the counters of all models, or of all versions or one version of a model.

        Raises:
            HubError: NOT_FOUND or NOT_READY.
        """
        name, version = asked(request)
        return json(message_json(await self.queries.statistics(caller_of(request), name, version)))

    async def traffic(self, request: Request) -> Response:
        """GET …/traffic: how the calls of a model are split among its versions.

        Raises:
            HubError: NOT_FOUND if no file says so.
        """
        return json(self.queries.traffic(caller_of(request), request.path_params["model"]))

    async def index(self, request: Request) -> Response:
        """POST /v2/repository/index: all model versions; a body is optional, and `ready` in it lists those that serve.

        Raises:
            HubError: BAD_INPUT for another body.
        """
        body = await body_of(request, IndexBody)
        return json(message_json(self.queries.index(caller_of(request), body.ready or False))["models"])


def asked(request: Request) -> tuple[str, str]:
    """The model and the version of a path; "" for one that it does not have."""
    return request.path_params.get("model", ""), request.path_params.get("version", "")
