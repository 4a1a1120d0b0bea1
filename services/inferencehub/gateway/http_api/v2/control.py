"""Endpoints that load and unload models on all pods, in the form of Triton's extension for model repositories."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from inferencehub.core.oip.admin.unsupported import unsupported
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.http_api.page import body_of, caller_of, json
from inferencehub.gateway.routing.control.control import ModelControl

PATH = "/v2/repository/models/{model}"
Change = Callable[..., Awaitable[None]]


class ChangeBody(msgspec.Struct):
    """The body of a load or an unload; both are optional in it."""

    parameters: dict[str, bool | int | str] | None = None


class ControlPages:
    """The endpoints.

    Args:
        control: makes the changes; None where the gateway takes none.
    """

    def __init__(self, control: ModelControl | None) -> None:
        self.control = control

    def routes(self) -> list[BaseRoute]:
        """Their routes."""
        return [
            Route(f"{PATH}/load", self.load, methods=["POST"]),
            Route(f"{PATH}/unload", self.unload, methods=["POST"]),
        ]

    async def load(self, request: Request) -> Response:
        """POST …/load: load a model on all pods; the answer comes when all serve it.

        Raises:
            HubError: UNSUPPORTED where the gateway takes no changes, DEADLINE if it takes longer than the caller waits, else as
                `ModelControl.load`.
        """
        return await self._changed(request, None if self.control is None else self.control.load)

    async def unload(self, request: Request) -> Response:
        """POST …/unload: unload all versions of a model on all pods.

        Raises:
            HubError: as `load`.
        """
        return await self._changed(request, None if self.control is None else self.control.unload)

    async def _changed(self, request: Request, change: Change | None) -> Response:
        if change is None:
            raise unsupported("model control")
        name = request.path_params["model"]
        parameters: dict[str, Any] = (await body_of(request, ChangeBody)).parameters or {}
        exchange: Exchange = request.state.exchange
        try:
            async with asyncio.timeout(exchange.limit_s):
                await change(caller_of(request), name, parameters)
        except TimeoutError:
            detail = f"model '{name[:80]}' has not changed at all pods within {exchange.limit_s} s; the change goes on"
            raise HubError(Kind.DEADLINE, detail) from None
        return json({})
