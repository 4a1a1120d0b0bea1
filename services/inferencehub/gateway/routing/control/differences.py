"""Where pods are not as wished, and why: for the metric, the doctor, the index of models and the console."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily

from inferencehub.core.values.errors import Kind
from inferencehub.gateway.metrics import PREFIX
from inferencehub.gateway.pods.pod import Pod
from inferencehub.gateway.routing.control.pods import Told, ToldPods
from inferencehub.gateway.routing.control.wishes import Wish
from inferencehub.gateway.routing.table import RoutingTable

FIXED = "it takes no loads and unloads, for its HUB_MODEL_CONTROL is not explicit"
UNDER_WAY = "the change is under way"
OVERTAKEN = "it has made a later change, which is not in the store"
ABSENT = "its repository does not have the model"  # the pod's own sentence names other models, which callers may not see


class Difference(NamedTuple):
    """A pod that is not as wished.

    Args:
        pod: its address.
        wish: what is wished.
        why: a sentence: that of the pod, or one of the above.
    """

    pod: str
    wish: Wish
    why: str


class Differences:
    """All differences as of the last look. Pods that are not up have none: they are told when they come.

    Args:
        table: the pods; its `not_as_wished` is written here.
        told: what they were told.
    """

    def __init__(self, table: RoutingTable, told: ToldPods) -> None:
        self._table = table
        self._told = told
        self._wished: Iterable[str] = ()
        self.found: list[Difference] = []

    def look(self, wishes: Mapping[str, Wish]) -> None:
        """Hold all pods against the wishes."""
        up = [pod for pod in self._table.fleet.pods.values() if pod.up and pod.channel is not None]
        pools: dict[str, set[str]] = {}
        found = []
        for pod in up:
            for one in self._of(pod, wishes.values()):
                model = one.wish.model
                if model not in pools:
                    pools[model] = self._pools_of(model, up)
                if pod.pool in pools[model]:
                    found.append(one)
        self._wished, self.found = wishes.keys(), found
        whys: dict[str, list[str]] = {}
        for one in found:
            whys.setdefault(one.wish.model, []).append(one.why)
        self._table.not_as_wished = {model: sentence(why) for model, why in whys.items()}

    def _of(self, pod: Pod, wishes: Iterable[Wish]) -> Iterator[Difference]:
        """Where a pod differs from wishes, if its pool has their models. It runs each second for all pods: what holds for
        all wishes is looked up once.
        """
        if not pod.takes_changes or pod.channel is None:
            serving = {name for name, _ in pod.catalog.models if pod.serves(name)}
            for wish in wishes:
                if (wish.model in serving) is not wish.loaded or wish.config:
                    yield Difference(pod.address, wish, FIXED)
            return
        told = self._told.of(pod.channel)
        for wish in wishes:
            last = told.get(wish.model)
            if last is None or last.revision < wish.revision:
                yield Difference(pod.address, wish, UNDER_WAY)
            elif not last.made and last.revision == wish.revision:
                yield Difference(pod.address, wish, why_of(last))

    def _pools_of(self, model: str, up: Iterable[Pod]) -> set[str]:
        """The pools with a model. If no pod lists it, they are those that served it last, which may have no pods now. Else
        all should have it, and so should pods without a pool, unless its own pool sleeps.
        """
        pools = {pod.pool for pod in up if (model, "") in pod.catalog.listed_keys}
        if pools or model in self._table.fleet.on_demand:
            return pools
        homes = {home for lane in self._table.routes.get((model, ""), ()) for home in lane.homes}
        return {pod.pool for pod in up if not homes or not pod.pool or pod.pool in homes}

    def collect(self) -> list[GaugeMetricFamily]:
        """The metric: a gauge for each model of which something is wished."""
        family = GaugeMetricFamily(
            f"{PREFIX}_pods_not_as_wished",
            "pods where a load or an unload through the gateway has not taken effect",
            labels=["model"],
        )
        counts = Counter(one.wish.model for one in self.found)
        for model in self._wished:
            family.add_metric([model], counts[model])
        return [family]


def why_of(told: Told) -> str:
    """Why a pod has not made the change that it was told of."""
    if told.failed is None:
        return UNDER_WAY
    if told.failed.kind is Kind.CONFLICT:
        return OVERTAKEN
    return ABSENT if told.failed.kind is Kind.NOT_FOUND else told.failed.why


def sentence(whys: Sequence[str]) -> str:
    """How many pods are not as wished of a model, and why the last one is not. It has no addresses: callers read it."""
    pods = "1 pod is" if len(whys) == 1 else f"{len(whys)} pods are"
    return f"{pods} not as wished: {whys[-1]}"
