"""How many jobs a gateway may take now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic

from inferencehub.gateway.jobs.attempt import Attempts
from inferencehub.gateway.jobs.record import lane_of, model_of
from inferencehub.gateway.routing.model_lane import ModelLane
from inferencehub.gateway.routing.table import RoutingTable


def free_places(
    table: RoutingTable, running: Attempts, rests: Mapping[str, float], waiting: Iterable[str]
) -> dict[str, int]:
    """Rows of jobs that may be taken, by lane.

    Args:
        table: the lanes.
        running: what runs already.
        rests: lanes for which nothing is taken before a moment of `time.monotonic`.
        waiting: lanes for which jobs wait; one of a model that sleeps is taken, to wake it.
    """
    held = table.bytes_held
    if held.held > held.limit // 2:
        return {}
    now = monotonic()
    asleep = [lane for lane in waiting if table.asleep(model_of(lane)) and not running.count(lane)]
    places = dict.fromkeys(asleep, 1)
    for key, lanes in table.routes.items():
        lane = lane_of(*key)
        if (free := free_rows(lanes, lane, running)) > 0:
            places[lane] = free
    return {lane: free for lane, free in places.items() if now >= rests.get(lane, 0.0)}


def free_rows(lanes: list[ModelLane], lane: str, running: Attempts) -> int:
    """Rows for which the lanes of a model have free places; 1 if there are none, and none of its jobs runs."""
    open = [one for one in lanes if one.open]
    free = sum(one.idle * max(1, one.lane.queue.max_rows) - one.lane.queue.rows for one in open)
    free -= running.outside(lane)
    if free > 0:
        return free
    return int(not running.count(lane) and any(not one.lane.queue.full for one in open))
