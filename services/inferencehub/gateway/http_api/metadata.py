"""GET endpoints: metadata of the server and of models (Open Inference Protocol), probes, OpenAPI and its page."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from inferencehub import __version__
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.signature import ModelInfo, TensorSpec
from inferencehub.gateway.http_api.pages.openapi import openapi
from inferencehub.gateway.json_codec.answer_json import encode
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.routing.unknown_models import UnknownModels

EXTENSIONS = ("binary_tensor_data", "classification", "parameters")


def json(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(encode(value), status, media_type="application/json")


class Metadata:
    """The endpoints.

    Args:
        fleet, table: the pods and the lanes of known models.
        unknown: where requests for other models wait.
        not_ready: returns "" while the gateway accepts requests, else the reason why it does not.
    """

    def __init__(
        self, fleet: Fleet, table: RoutingTable, unknown: UnknownModels, not_ready: Callable[[], str]
    ) -> None:
        self.fleet = fleet
        self.table = table
        self.unknown = unknown
        self.not_ready = not_ready

    async def root(self, request: Request) -> Response:
        """GET /: the way to the page. It is relative, so that it works behind a prefix."""
        return RedirectResponse("docs")

    async def server(self, request: Request) -> Response:
        """GET /v2: name, version and supported extensions."""
        return json({"name": "inferencehub", "version": __version__, "extensions": EXTENSIONS})

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
        known = self.table.models()
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
                ]
            }
        )

    async def model(self, request: Request) -> Response:
        """GET /v2/models/{model}[/versions/{version}]: inputs and outputs.

        For a model whose pool has no pods, this waits as an inference request does, and makes the pool start: many
        clients ask for metadata first.

        Raises:
            HubError: NOT_FOUND or NOT_READY.
        """
        expected = request.path_params["model"] in self.fleet.on_demand
        info = await self._info(request, hold_s=None if expected else 0)
        return json(
            {
                "name": info.name,
                "versions": self.table.versions(info.name),
                "platform": info.platform,
                "inputs": [tensor(spec) for spec in info.signature.inputs],
                "outputs": [tensor(spec) for spec in info.signature.outputs],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """GET …/ready: 200 if the model can be called now.

        Raises:
            HubError: NOT_FOUND, or NOT_READY if no pod serves the model.
        """
        info = await self._info(request, hold_s=0)
        version = request.path_params.get("version", "")
        if reason := self.table.why_closed(info.name, version):
            raise HubError(Kind.NOT_READY, f"model '{info.name}' is not ready: {reason}")
        return json({"name": info.name, "ready": True})

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json."""
        return json(openapi())

    async def docs(self, request: Request) -> Response:
        """GET /docs: the OpenAPI document as a page that loads nothing from other sites."""
        return HTMLResponse(files(f"{__package__}.pages").joinpath("docs.html").read_text())

    async def _info(self, request: Request, hold_s: float | None) -> ModelInfo:
        path = request.path_params
        name, version = path["model"], path.get("version", "")
        lanes = self.table.known(name, version) or await self.unknown.lanes(name, version, hold_s)
        return lanes[0].info


def tensor(spec: TensorSpec) -> dict[str, Any]:
    """The protocol's description of an input or output."""
    return {"name": spec.name, "datatype": spec.dtype, "shape": spec.shape}
