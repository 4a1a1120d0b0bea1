"""Whether pods serve what the file of traffic names: a file that can be read may still name what nobody has."""

from __future__ import annotations

from collections.abc import Iterator

from inferencehub.core.process.doctor.finding import Finding, warning
from inferencehub.core.values.errors import listed
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.routing.traffic.split import Split
from inferencehub.gateway.routing.traffic.traffic import Traffic

FIX = (
    "Correct the version or its alias in the file, or let pods serve it (version_policy in config.pbtxt). "
    "GET /v2/models/NAME/traffic shows how calls are split."
)


class ServedTraffic:
    """The check of the file of traffic.

    Args:
        table: what pods serve, and the file.
    """

    def __init__(self, table: RoutingTable) -> None:
        self._table = table

    async def look(self) -> list[Finding]:
        """A warning for each model, weight and shadow that no pod serves; none until all pods have listed their models."""
        traffic, models = self._table.traffic, self._table.all_listed()
        if traffic is None or models is None:
            return []
        found = []
        for model, split in sorted(traffic.splits.items()):
            if model not in models:
                seen = f"it names model '{model}', and no pod has such a model: {listed(sorted(models))}"
                fix = "Correct the name, or take the entry out of the file."
                found.append(warning(traffic.setting, seen, fix))
            elif not models[model]:  # one that nobody serves at all is told of by itself
                found += [
                    warning(traffic.setting, seen, FIX) for seen in self._missing(model, split, traffic)
                ]
        return found

    def _missing(self, model: str, split: Split, traffic: Traffic) -> Iterator[str]:
        """What the entry of a model counts on and no pod serves, as sentences."""
        served = f"pods serve {listed(self._table.versions(model))}"
        for version, weight in split.weights.items():
            if weight and not self._table.is_open(model, version):
                yield f"model '{model}': version '{version}' has the weight {weight:g}, and no pod serves it, {served}"
        shadow = traffic.shadow(model)
        if shadow is not None and not self._table.is_open(model, shadow.version):
            yield f"model '{model}': version '{shadow.version}' is to get copies of calls, and no pod serves it, {served}"
