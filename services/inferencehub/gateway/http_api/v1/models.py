"""GET /v1/models and /v1/models/{model}: which models there are, and whether one can be called (V1 protocol)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.http_api.page import json
from inferencehub.gateway.routing.model_queries import ModelQueries


class ModelPagesV1:
    """The endpoints.

    Args:
        queries: answers questions about models.
    """

    def __init__(self, queries: ModelQueries) -> None:
        self.queries = queries

    async def models(self, request: Request) -> Response:
        """GET /v1/models: the names of all models that can be called."""
        return json({"models": [name for name, reason in self.queries.table.models().items() if not reason]})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{model}: whether the model can be called now. Clients wait until it is `ready`.

        Raises:
            HubError: NOT_FOUND if the model is unknown.
        """
        name = request.path_params["model"]
        try:
            await self.queries.require_ready(name, request.path_params.get("version", ""))
        except HubError as error:
            if error.kind is Kind.NOT_FOUND:
                raise
            return json({"name": name, "ready": False})
        return json({"name": name, "ready": True})
