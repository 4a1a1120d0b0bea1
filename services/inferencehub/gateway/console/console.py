"""The console at both ports of a gateway.

callers   behind the stages, as other pages are; with the last calls, and models to try
ops       read-only: nothing of who calls, and no way to call
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router

from inferencehub.core.http1.asgi import AsgiHandler
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.limits.peers import Peers
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.console.calls import EndedCalls
from inferencehub.gateway.console.files import HEADERS, PAGE, WHOLE_ONLY, static_files
from inferencehub.gateway.console.snapshot import (
    Process,
    Snapshot,
    Snapshots,
    Sources,
    seen_by,
    without_calls,
)
from inferencehub.gateway.console.stream import HEADERS as EVENTS
from inferencehub.gateway.console.stream import Stream
from inferencehub.gateway.console.watchers import Watchers
from inferencehub.gateway.http_api.page import CONSOLE, CONSOLE_EVENTS
from inferencehub.gateway.json_codec.answer_json import error_json
from inferencehub.gateway.metrics import Metrics
from inferencehub.gateway.routing.demand import Demand

if TYPE_CHECKING:
    from inferencehub.gateway.http_api.jobs.front import JobFront

MOST_OPS_BYTES = 0  # of a request's body at the ops port


class Console:
    """See the module's text.

    Args:
        process: of the gateway.
        calls: has what it shows of pods and lanes, and the stages that say who may still look.
        demand, metrics, peers: those of the gateway.
        jobs: the front of jobs; None where there are none.
    """

    def __init__(
        self,
        process: Process,
        calls: Calls,
        demand: Demand,
        metrics: Metrics,
        peers: Peers,
        jobs: JobFront | None,
    ) -> None:
        ended = EndedCalls()
        settings = calls.table.fleet.settings
        slow_s = settings.trace_slow_ms / 1000 or inf
        worker = None if jobs is None else jobs.jobs.worker
        for front in (metrics.http, metrics.grpc, metrics.jobs):
            front.note, front.slow_s = ended.note, slow_s
        sources = Sources(process, calls.table, demand, metrics, peers, worker, slow_s)
        self.watchers = Watchers(Snapshots(sources, ended))
        self._calls = calls
        self._for_callers = settings.console

    def routes(self) -> list[BaseRoute]:
        """Those of the gateway's port; none if the settings say so."""
        if not self._for_callers:
            return []
        return [
            Route(CONSOLE, self._page),
            Route(CONSOLE_EVENTS, self._events),
            Route(f"{CONSOLE}/{{file}}", self._file),
        ]

    def ops(self) -> AsgiHandler:
        """What answers at the ops port."""
        return AsgiHandler(
            Router(
                [
                    Route(CONSOLE, self._page),
                    Route(CONSOLE_EVENTS, self._ops_events),
                    Route(f"{CONSOLE}/{{file}}", self._ops_file),
                ],
                redirect_slashes=False,
            ),
            MOST_OPS_BYTES,
        )

    def end(self) -> None:
        """The gateway drains: let those who look go to another one."""
        self.watchers.end()

    async def _page(self, request: Request) -> Response:
        """GET /console."""
        return file(PAGE)

    async def _file(self, request: Request) -> Response:
        """GET /console/{file}: a script or the style."""
        return file(request.path_params["file"])

    async def _ops_file(self, request: Request) -> Response:
        name = request.path_params["file"]
        if name in WHOLE_ONLY or name not in static_files():
            sentence = f"the console has no file '{name[:80]}' at this port"
            return Response(
                error_json(HubError(Kind.NOT_FOUND, sentence)), 404, media_type="application/json"
            )
        return file(name)

    async def _events(self, request: Request) -> Response:
        """GET /console/events: what the page shows, once a second."""
        exchange: Exchange = request.state.exchange
        fields = dict(request.headers.raw)

        def again() -> None:
            try:
                for check in self._calls.agains:
                    check(exchange, fields)
            except HubError as error:
                self._calls.audit.refused(error, exchange.peer, exchange.id, exchange.caller)
                raise

        def shown(snapshot: Snapshot) -> Snapshot:
            return seen_by(exchange.caller, snapshot)  # as of the last look at the credentials

        self.watchers.require_room("callers")
        if request.method == "HEAD":
            return Response(headers=EVENTS)
        return Stream(self.watchers, "callers", lambda: exchange.caller, shown, again)

    async def _ops_events(self, request: Request) -> Response:
        try:
            self.watchers.require_room("ops")
        except HubError as error:
            return Response(error_json(error), error.kind.http, media_type="application/json")
        if request.method == "HEAD":
            return Response(headers=EVENTS)
        return Stream(self.watchers, "ops", lambda: "ops", without_calls, lambda: None)


def file(name: str) -> Response:
    """A file of the page.

    Raises:
        HTTPException: 404 if there is none of that name.
    """
    found = static_files().get(name)
    if found is None:
        raise HTTPException(404)
    return Response(found[1], media_type=None, headers={**HEADERS, "content-type": found[0]})
