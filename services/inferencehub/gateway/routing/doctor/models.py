"""Which models do not serve, and why; and whether the models that settings name are there."""

from __future__ import annotations

from inferencehub.core.oip.extension import NOT_WANTED
from inferencehub.core.process.doctor.finding import Finding, fault, ok, warning
from inferencehub.core.values.errors import listed
from inferencehub.gateway.pods.pod import Pod
from inferencehub.gateway.routing.fleet import Fleet

MOST_SHOWN = 20  # models that do not serve


class ServedModels:
    """The checks of models.

    Args:
        fleet: the pods that serve them.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def look(self) -> list[Finding]:
        """All findings."""
        pods = [pod for pod in self._fleet.pods.values() if pod.wanted]
        serving = {name for pod in pods for name in pod.catalog.defaults if pod.serves(name)}
        loading = {name for pod in pods for name in pod.catalog.loading}
        found = []
        broken = {name: why for name, why in self._fleet.unavailable().items() if why not in NOT_WANTED}
        for name, why in sorted(broken.items())[:MOST_SHOWN]:
            found.append(of_model(name, why, name in serving, name in loading))
        found += self._of_settings({name for pod in pods for name in self._names(pod)} if pods else None)
        if serving:
            found.append(ok("models", f"these serve: {listed(sorted(serving))}"))
        return found

    def _names(self, pod: Pod) -> set[str]:
        return {*pod.catalog.defaults, *pod.catalog.unavailable}

    def _of_settings(self, known: set[str] | None) -> list[Finding]:
        """Models that settings name and no pod has; none if no pod is known, or one can't list its models."""
        settings, pods = self._fleet.settings, self._fleet.pods.values()
        if not known or not all(pod.catalog.listed and pod.described for pod in pods):
            return []
        named = {
            "HUB_DEFAULT_MODEL": settings.default_model,
            "HUB_DEFAULT_TEXT_MODEL": settings.default_text_model,
        }
        found = []
        for setting, name in named.items():
            if name and name not in known and name not in self._fleet.on_demand:
                seen = f"it names '{name}', and no pod has such a model: {listed(sorted(known))}"
                found.append(fault(setting, seen, "Correct the name, or put the model into the repository."))
        for name, promised in sorted(self._fleet.on_demand.items()):
            pool = [pod for pod in pods if pod.pool == promised.pool and pod.up]
            if pool and not any(name in self._names(pod) for pod in pool):
                seen = f"it says that pool {promised.pool} has '{name}', and its pods do not"
                fix = "Correct it: a request for that model would start a pod in vain (scaleToZero.models in the chart)."
                found.append(fault("HUB_ON_DEMAND_MODELS", seen, fix))
        return found


def of_model(name: str, why: str, served: bool, loading: bool) -> Finding:
    """A model that some pod does not serve."""
    what = f"model {name}"
    if loading:
        return warning(what, f"it is being loaded: {why}", "Wait; large models may take minutes.")
    fix = "Repair the model or undo its last change, then restart the pods: kubectl rollout restart. Their log has more."
    if served:
        return warning(what, f"some pods do not serve it, others do: {why}", fix)
    return fault(what, f"no pod serves it: {why}", fix)
