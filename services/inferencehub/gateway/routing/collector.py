"""Gauges of pods, lanes and memory, read when Prometheus asks for them."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client.core import GaugeMetricFamily

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.gateway.metrics import PREFIX
from inferencehub.gateway.routing.fleet import Fleet
from inferencehub.gateway.routing.table import RoutingTable


class RoutingCollector:
    """The gauges.

    Args:
        fleet, table: where pods and lanes are counted.
        bytes_held: the process's budget.
    """

    def __init__(self, fleet: Fleet, table: RoutingTable, bytes_held: ByteBudget) -> None:
        self.fleet = fleet
        self.table = table
        self.bytes_held = bytes_held

    def collect(self) -> list[GaugeMetricFamily]:
        """All gauges, summed over a model's lanes."""
        per_model: list[tuple[str, str, Callable[..., float]]] = [
            (f"{PREFIX}_queue_length", "requests that wait for a slot", lambda lane: len(lane.lane.queue)),
            (f"{PREFIX}_running", "requests that run at pods", lambda lane: lane.lane.in_use.jobs),
        ]
        families = []
        for name, text, reading in per_model:
            family = GaugeMetricFamily(name, text, labels=["model"])
            sums: dict[str, float] = {}
            for (model, _), lanes in self.table.routes.items():
                sums[model] = sums.get(model, 0.0) + sum(reading(lane) for lane in lanes)
            for model, value in sums.items():
                family.add_metric([model], value)
            families.append(family)
        slots = GaugeMetricFamily(
            f"{PREFIX}_slots", "instances of the model at all pods that serve it", labels=["model"]
        )
        for (model, version), lanes in self.table.routes.items():
            if not version:
                replicas = {replica for lane in lanes for replica in lane.replicas if replica.open}
                slots.add_metric([model], sum(replica.info.slots for replica in replicas))
        pods = GaugeMetricFamily(f"{PREFIX}_backends", "pods, by state", labels=["state"])
        for state, count in self.fleet.counts().items():
            pods.add_metric([state.value], count)
        held = GaugeMetricFamily(
            f"{PREFIX}_held_bytes", "bytes that the process holds for requests", self.bytes_held.held
        )
        return [*families, slots, pods, held]
