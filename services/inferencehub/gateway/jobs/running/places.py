"""How many jobs a gateway may take now, and when those begin that it has taken."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from inferencehub.gateway.jobs.record import Place, lane_of
from inferencehub.gateway.jobs.running.attempt import Attempts
from inferencehub.gateway.routing.model_lane import ModelLane
from inferencehub.gateway.routing.table import RoutingTable

QUICK_S = 0.05  # a run takes no longer


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
        if (free := free_rows(lanes, lane, running, now)) > 0:
            places[lane] = Place(free, any(one.info.at_most_once for one in lanes))
    return {lane: place for lane, place in places.items() if now >= rests.get(lane, 0.0)}


def free_rows(lanes: list[ModelLane], lane: str, running: Attempts, now: float) -> int:
    """Rows that jobs may begin at instances without work, and a batch more that waits: where calls are, which leave it their
    rest, and where runs are so quick that an instance would often wait for the next jobs to come from the store.

    Of a model that must not run twice, one job waits behind calls, and none for quick runs: nobody could tell that it has not
    run if its gateway is lost. One job is also taken if others keep the instances busy, and none of the model's jobs is here.
    """
    jobs = running.of_lane(lane)
    calls = sum(len(one.lane.queue) + one.lane.in_use.jobs for one in lanes) > sum(one.runs() for one in jobs)
    open = [one for one in lanes if one.open]
    rows = -sum(one.claim.rows for one in jobs if one.job() is None)  # their requests are being read
    for one in open:
        batch = max(1, one.lane.queue.max_rows)
        once = one.info.at_most_once
        quick = not once and 0 < one.lane.run_times.usual(now) < QUICK_S
        waits = (1 if once else batch) if calls or quick else 0
        rows += one.room_for_jobs + waits
    return rows if rows > 0 or jobs else min(1, len(open))


def begin_waiting(table: RoutingTable) -> None:
    """Let jobs begin that wait in lanes: with time alone, calls leave them more, and no end of a run tells their lane so."""
    for lanes in table.routes.values():
        for one in lanes:
            if one.lane.background.rows:
                one.lane.pump()
