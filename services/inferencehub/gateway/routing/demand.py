"""The demand of this gateway's requests: how many slots they need, sampled and averaged, for the scaler and Prometheus.

Slots in use are measured exactly, as the time for which batches held them, so that even a very fast model is seen.
Waiting requests are sampled twice a second.

The scaler gets the mean of the last second, because it applies its own window to the sum over all gateways. The gauge
for Prometheus is the mean over WINDOW_S: an autoscaler asks every 15 s and reacts to a difference of 10 %, but the
number of busy slots at one moment differs from its mean by far more (docs/scaling.md).

What waits in a store of jobs waits for all gateways. Each reports it, apart from its own requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple

import msgspec
from prometheus_client.core import GaugeMetricFamily

from inferencehub.core.process.ops_port import JSON, Answer, Asked
from inferencehub.core.values.demand import ModelDemand, Report, slots_needed
from inferencehub.gateway.pods.replica import Replica
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.routing.unknown_models import UnknownModels

WINDOW_S = 15.0
SECOND_S = 1.0
TICK_S = 0.5

Key = tuple[str, str, str]  # pool, model, version


class Tick(NamedTuple):
    """One sample.

    Args:
        seconds: since the sample before.
        used: slot-seconds in use.
        waited: slots that waiting requests need.
        shared: slots that what waits for all gateways needs.
    """

    seconds: float
    used: dict[Key, float]
    waited: dict[Key, float]
    shared: dict[Key, float]


class Demand:
    """Watches the lanes and what waits for unknown models.

    Args:
        fleet, table, unknown: where requests run and wait.

    `backlog` returns the slots that what waits for all gateways needs, by model and version, "" for the default one.
    """

    def __init__(self, fleet: Fleet, table: RoutingTable, unknown: UnknownModels) -> None:
        self.fleet = fleet
        self.table = table
        self.unknown = unknown
        self.backlog: Callable[[], Mapping[tuple[str, str], float]] = dict
        self.slots: dict[Key, int] = {}
        self._ticks: deque[Tick] = deque(maxlen=round(WINDOW_S / TICK_S))
        self._last = monotonic()
        self._used: dict[Replica, float] = {}
        self._read(self._last)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sample in the background."""
        self._task = asyncio.get_running_loop().create_task(self._sample())

    async def stop(self) -> None:
        """Sample no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def collect(self) -> list[GaugeMetricFamily]:
        """The demand for each model, for Prometheus."""
        labels = ["pool", "model", "version"]
        own = GaugeMetricFamily(
            "inferencehub_gateway_demand",
            f"demand of this gateway's requests, in pods, mean of {WINDOW_S:g} s",
            labels=labels,
        )
        shared = GaugeMetricFamily(
            "inferencehub_gateway_shared_demand",
            f"demand of jobs that wait for any gateway, in pods, mean of {WINDOW_S:g} s; each gateway tells the same",
            labels=labels,
        )
        report = self.report(WINDOW_S)
        for family, demands in ((own, report.models), (shared, report.shared)):
            for demand in demands:
                family.add_metric([demand.pool, demand.model, demand.version], demand.pods)
        return [own, shared]

    def page(self, asked: Asked) -> Answer:
        """GET /demand of the ops port: the mean of the last second."""
        return 200, JSON, msgspec.json.encode(self.report(SECOND_S))

    def report(self, window_s: float) -> Report:
        """The mean demand of all known and on-demand models over the last `window_s` seconds, at most WINDOW_S."""
        ticks = list(self._ticks)[-round(window_s / TICK_S) :]
        seconds = sum(tick.seconds for tick in ticks) or TICK_S
        models, shared = [], []
        for key, slots in sorted(self.slots.items()):
            running = sum(tick.used.get(key, 0.0) for tick in ticks) / seconds
            queued = sum(tick.waited.get(key, 0.0) * tick.seconds for tick in ticks) / seconds
            models.append(ModelDemand(*key, round(running, 4), round(queued, 4), slots))
            waits = sum(tick.shared.get(key, 0.0) * tick.seconds for tick in ticks) / seconds
            if waits:
                shared.append(ModelDemand(*key, 0.0, round(waits, 4), slots))
        return Report(round(seconds, 3), models, shared)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()

    def tick(self) -> None:
        """Take a sample, and forget models that no pod serves and that are in no sample of the window."""
        now = monotonic()
        expected = {(model.pool, name, ""): model.slots for name, model in self.fleet.on_demand.items()}
        used = self._read(now)
        there = expected.keys() | used.keys()
        self.slots |= expected
        self._ticks.append(Tick(now - self._last, used, self._waiting(), self._shared()))
        self._last = now
        ticks = self._ticks
        seen = set(there).union(*[one.used.keys() | one.waited.keys() | one.shared.keys() for one in ticks])
        self.slots = {key: slots for key, slots in self.slots.items() if key in seen}

    def _read(self, now: float) -> dict[Key, float]:
        """Slot-seconds in use since the last call."""
        used: dict[Key, float] = {}
        before, self._used = self._used, {}
        for pod in self.fleet.pods.values():
            for (model, version), described in pod.replicas.items():
                replica = self.table.ensembles.runner_of(described)
                key = (pod.pool, model, version)
                total = self._used[replica] = replica.used(now)
                used[key] = used.get(key, 0.0) + total - before.get(replica, 0.0)
                self.slots[key] = replica.info.slots
        return used

    def _waiting(self) -> dict[Key, float]:
        """The slots that waiting requests need; pools with the same model share them in proportion to their slots."""
        waited: dict[Key, float] = {}
        for lanes in self.table.routes.values():
            for lane in lanes:
                queue, info = lane.lane.queue, lane.info
                needed = slots_needed(len(queue), queue.rows, queue.max_rows)
                total = sum(lane.pools.values())
                for pool, slots in lane.pools.items():
                    key = (pool, info.name, info.version)
                    self.slots.setdefault(key, info.slots)
                    waited[key] = waited.get(key, 0.0) + needed * slots / total
        for name, expected in self.fleet.on_demand.items():
            held = self.unknown.held.get(name, 0)
            waited[expected.pool, name, ""] = float(slots_needed(held, held, expected.max_batch_size))
        return waited

    def _shared(self) -> dict[Key, float]:
        """The slots that what waits for all gateways needs, in the pools that serve its model, or would."""
        shared: dict[Key, float] = {}
        for (name, version), needed in self.backlog().items():
            pools = {
                (pool, name, lane.info.version): (slots, lane.info.slots)
                for lane in self.table.routes.get((name, version), ())
                for pool, slots in lane.pools.items()
            }
            expected = self.fleet.on_demand.get(name)
            # A version that pods which are up do not have will not come with others.
            if not pools and expected is not None and (not version or self.table.asleep(name)):
                pools = {(expected.pool, name, ""): (expected.slots, expected.slots)}
            total = sum(slots for slots, _ in pools.values())
            for key, (slots, of_pod) in pools.items():
                self.slots.setdefault(key, of_pod)
                shared[key] = shared.get(key, 0.0) + needed * slots / total
        return shared
