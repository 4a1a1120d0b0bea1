"""How many jobs a gateway may take now."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from inferencehub.gateway.jobs.record import Place, lane_of
from inferencehub.gateway.jobs.running.attempt import Attempts
from inferencehub.gateway.routing.model_lane import ModelLane
from inferencehub.gateway.routing.table import RoutingTable


def free_places(table: RoutingTable, running: Attempts, rests: Mapping[str, float]) -> dict[str, Place]:
    """Where jobs may be taken, by lane.

    Args:
        table: the lanes.
        running: what runs already.
        rests: lanes for which nothing is taken before a moment of `time.monotonic`.
    """
    held = table.bytes_held
    if held.held > held.limit // 2:
        return {}
    now = monotonic()
    places: dict[str, Place] = {}
    for key, lanes in table.routes.items():
        lane = lane_of(*key)
        if (free := free_rows(lanes, lane, running)) > 0:
            places[lane] = Place(free, any(one.info.at_most_once for one in lanes))
    return {lane: place for lane, place in places.items() if now >= rests.get(lane, 0.0)}


def free_rows(lanes: list[ModelLane], lane: str, running: Attempts) -> int:
    """Rows for which the lanes of a model have free places; 1 if there are none, and none of its jobs runs."""
    open = [one for one in lanes if one.open]
    free = sum(one.idle * max(1, one.lane.queue.max_rows) - one.lane.queue.rows for one in open)
    free -= running.outside(lane)
    if free > 0:
        return free
    return int(not running.count(lane) and any(not one.lane.queue.full for one in open))
