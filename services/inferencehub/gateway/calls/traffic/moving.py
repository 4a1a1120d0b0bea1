"""What becomes of a call whose version lost its last pod while it waited: another version of the file of traffic takes it.

Only calls that named no version move, and only those that have not begun to run at a pod that was lost: they may be the
cause. Without another version that is served and has these inputs, a call stays and waits for its own. If the file has no entry for
the model any more, the default version takes it.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from inferencehub.core.lane.job import Job
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.structs.struct import replace
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.routing.fit import fit
from inferencehub.gateway.routing.model_lane import ModelLane
from inferencehub.gateway.routing.table import RoutingTable


def move(table: RoutingTable, exchange: Exchange, job: Job) -> None:
    """Let a call go to the lane of another version, if the file has one that is served. No stage counts it again."""
    before, lane = exchange.chosen, exchange.lane
    lanes = [one for one in table.known(job.request.model, "", exchange) if one.open]
    version = "" if exchange.chosen is None else exchange.chosen.name
    found = fitting(lanes, replace(job.request, version=version))
    sink = None if found is None or lane is None else lane.lane.withdraw(job)
    if found is None or sink is None:
        exchange.chosen = before
        return
    exchange.lane, request = found
    exchange.moved = True
    job.becomes(request)
    if exchange.chosen is None:
        job.move = None  # no version ends its cycle with the call
    try:
        exchange.lane.accept(job, sink)
    except HubError as error:
        exchange.lane.observer.failed(request.version, 1, monotonic() - exchange.started)
        asyncio.get_running_loop().call_soon(sink.end, error.with_traceback(None))


def fitting(lanes: list[ModelLane], request: InferRequest) -> tuple[ModelLane, InferRequest] | None:
    """The lane that a request fits, and the request as it goes there; None if it fits none of them."""
    try:
        return fit(lanes, request)[:2] if lanes else None
    except HubError:
        return None
