"""What becomes of a call whose version lost its last pod while it waited: another version of the file of traffic takes it.

Only calls that named no version move, and only those that have not begun to run at a pod that was lost: they may be the
cause. Without another version that is served, a call stays and waits for its own.
"""

from __future__ import annotations

import asyncio

from inferencehub.core.lane.job import Job
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.structs.struct import replace
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.routing.fit import fit
from inferencehub.gateway.routing.table import RoutingTable


def move(table: RoutingTable, exchange: Exchange, job: Job) -> None:
    """Let a call go to the lane of another version, if the file has one that is served. No stage counts it again."""
    before, lane = exchange.chosen, exchange.lane
    lanes = [one for one in table.known(job.request.model, "", exchange) if one.open]
    chosen = exchange.chosen
    if chosen is None or not lanes or lane is None:
        exchange.chosen = before
        return
    sink = lane.lane.withdraw(job)
    if sink is None:
        exchange.chosen = before
        return
    try:
        exchange.lane, request, _ = fit(lanes, replace(job.request, version=chosen.name))
        job.becomes(request)
        exchange.lane.accept(job, sink)
    except HubError as error:
        asyncio.get_running_loop().call_soon(sink.end, error.with_traceback(None))
