"""GET /v1/models and /v1/models/{model}: which models there are, and whether one can be called.

One body serves two kinds of clients: `object`, `data`, `id`, `created` and `owned_by` are OpenAI's; `models`, `name` and
`ready` are those of the V1 protocol.
"""

from __future__ import annotations

from time import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.http_api.page import caller_of, json
from inferencehub.gateway.json_codec.openai.errors import openai_error
from inferencehub.gateway.routing.model_queries import ModelQueries

OWNER = "inferencehub"


class ModelPagesV1:
    """The endpoints.

    Args:
        queries: answers questions about models.
    """

    def __init__(self, queries: ModelQueries) -> None:
        self.queries = queries
        self._since = int(time())  # `created` of each model: when a model itself was made, nobody says

    async def models(self, request: Request) -> Response:
        """GET /v1/models: all models that can be called."""
        sees = caller_of(request).sees
        names = [name for name, reason in self.queries.table.models().items() if not reason and sees(name)]
        data = [self._described(name, True) for name in names]
        return json({"object": "list", "data": data, "models": names})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{model}: whether the model can be called now. Clients wait until it is `ready`.

        The error for an unknown model is OpenAI's, whose client reads more of it than the status.
        """
        name = request.path_params["model"]
        try:
            await self.queries.require_ready(caller_of(request), name, request.path_params.get("version", ""))
        except HubError as error:
            if error.kind in (Kind.NOT_FOUND, Kind.FORBIDDEN):
                return Response(openai_error(error), error.kind.http, media_type="application/json")
            return json(self._described(name, False))
        return json(self._described(name, True))

    def _described(self, name: str, ready: bool) -> dict[str, Any]:
        """A model as both kinds of clients read it."""
        return {
            "id": name, "object": "model", "created": self._since, "owned_by": OWNER, "name": name, "ready": ready,
        }  # fmt: skip
