"""GET endpoints of the whole server: metadata, probes, the list of models, OpenAPI and its page."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from inferencehub import __version__
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.extensions import announced
from inferencehub.gateway.calls.usage import Usage
from inferencehub.gateway.http_api.page import caller_of, json
from inferencehub.gateway.http_api.pages.docs_page import docs_page
from inferencehub.gateway.http_api.pages.openapi import openapi
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.table import RoutingTable


class Metadata:
    """The endpoints.

    Args:
        fleet, table: the pods and the lanes of known models.
        not_ready: returns "" while the gateway accepts requests, else the reason why it does not.
        usage: what callers have used.
    """

    def __init__(self, fleet: Fleet, table: RoutingTable, not_ready: Callable[[], str], usage: Usage) -> None:
        self.usage = usage
        self.fleet = fleet
        self.table = table
        self.not_ready = not_ready

    async def root(self, request: Request) -> Response:
        """GET /: V1's liveness, and for browsers the way to the page, relative so that it works behind a prefix."""
        if "text/html" in request.headers.get("accept", ""):
            answer: Response = RedirectResponse("docs")
        else:
            answer = json({"status": "alive"})
        answer.headers["vary"] = "accept"
        return answer

    async def server(self, request: Request) -> Response:
        """GET /v2: name, version and supported extensions."""
        extensions = announced(self.fleet.settings.model_loads)
        return json({"name": "inferencehub", "version": __version__, "extensions": extensions})

    async def live(self, request: Request) -> Response:
        """GET /v2/health/live: the gateway works."""
        return json({"live": True})

    async def ready(self, request: Request) -> Response:
        """GET /v2/health/ready: 200 if the gateway accepts requests and a pod serves, or a request would start one.

        Raises:
            HubError: NOT_READY with the reason.
        """
        reason = self.not_ready() or ("" if self.fleet.serves else "no inference pod serves")
        if reason:
            raise HubError(Kind.NOT_READY, f"not ready: {reason}")
        return json({"ready": True})

    async def healthz(self, request: Request) -> Response:
        """GET /healthz: liveness of the gateway itself."""
        return json({"live": True})

    async def readyz(self, request: Request) -> Response:
        """GET /readyz: readiness of the gateway itself. No pod is needed: the gateway can hold requests.

        Raises:
            HubError: NOT_READY with the reason.
        """
        if reason := self.not_ready():
            raise HubError(Kind.NOT_READY, f"not ready: {reason}")
        return json({"ready": True})

    async def models(self, request: Request) -> Response:
        """GET /v2/models: all models, why one cannot be called, and why `/predict` cannot serve one."""
        known, sees = self.table.models(), caller_of(request).sees
        return json(
            {
                "models": [
                    {
                        "name": name,
                        "state": "UNAVAILABLE" if reason else "READY",
                        "reason": reason,
                        "no_predict": self.table.no_predict(name),
                    }
                    for name, reason in known.items()
                    if sees(name)
                ]
            }
        )

    async def used(self, request: Request) -> Response:
        """GET /v2/usage: what the caller's tenant has used of this gateway, by day and key, and how its quotas stand.

        Nothing is counted where nobody is asked who they are.
        """
        caller = caller_of(request)
        quotas = await self.usage.quotas_of(caller)
        return json({"tenant": caller.tenant, "usage": self.usage.of(caller), "quotas": quotas})

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json."""
        return json(openapi())

    async def docs(self, request: Request) -> Response:
        """GET /docs: the OpenAPI document as a page that loads nothing from other sites."""
        html, headers = docs_page()
        return HTMLResponse(html, headers=headers)
