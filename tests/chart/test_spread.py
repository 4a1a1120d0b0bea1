"""Where pods run: over which nodes and zones they are spread, and how soon they leave a lost node."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import at, merge, of_kind, one, render

ZONE = {"topologyKey": "topology.kubernetes.io/zone", "matchLabelKeys": ["pod-template-hash"]}


def test_pods_are_spread_and_counted_by_version() -> None:
    """A scheduler that scores ignores a node that lacks the label of any constraint. So there is one, and every node has
    its label; zones, which many clusters lack, are a wish of their own."""
    objects = render(merge(at("inference.pools.gpu", {}), at("inference.autoscaling.source", "demand")))
    for thing in of_kind(objects, "Deployment"):
        spec = thing["spec"]["template"]["spec"]
        selector = thing["spec"]["selector"]
        assert spec["topologySpreadConstraints"] == [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "matchLabelKeys": ["pod-template-hash"],
                "labelSelector": selector,
            }
        ]
        wish = {"weight": 100, "podAffinityTerm": {**ZONE, "labelSelector": selector}}
        assert spec["affinity"] == {
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}
        }
    assert len(of_kind(objects, "Deployment")) == 4


@pytest.mark.parametrize("tier", ["gateway", "inference", "inference.pools.default", "scaler"])
def test_the_wish_for_zones_can_be_changed_and_left_out(tier: str) -> None:
    named = {"labelSelector": {"matchLabels": {"team": "ml"}}, "topologyKey": "rack"}
    node = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]}
    chosen = {
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [named, {"topologyKey": "rack"}]},
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": node},
    }
    demand = at("inference.autoscaling.source", "demand")
    suffix = tier.rpartition(".")[2].replace("inference", "default")
    deployment = one(render(merge(demand, at(f"{tier}.affinity", chosen))), "Deployment", suffix)
    found = deployment["spec"]["template"]["spec"]["affinity"]
    own = {"topologyKey": "rack", "labelSelector": deployment["spec"]["selector"]}
    assert found["podAffinity"] == {"requiredDuringSchedulingIgnoredDuringExecution": [named, own]}
    assert found["nodeAffinity"] == chosen["nodeAffinity"]
    assert found["podAntiAffinity"].keys() == {"preferredDuringSchedulingIgnoredDuringExecution"}

    without = one(render(merge(demand, at(f"{tier}.affinity.podAntiAffinity", None))), "Deployment", suffix)
    assert "affinity" not in without["spec"]["template"]["spec"]


LOST = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def lost(seconds: int, taint: str) -> dict[str, Any]:
    """The toleration of a lost node."""
    return {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}


@pytest.mark.parametrize(
    ("tolerations", "seconds", "added"),
    [
        ([], 10, LOST),
        ([], 0, LOST),
        ([], None, ()),
        ([{"key": "gpu", "operator": "Exists"}], 60, LOST),
        ([{"key": LOST[0], "operator": "Exists", "effect": "NoExecute"}], 60, LOST[1:]),
        ([{"key": LOST[0], "operator": "Exists", "effect": "NoSchedule"}], 60, LOST),
        # All taints.
        ([{"operator": "Exists"}], 10, ()),
    ],
)
@pytest.mark.parametrize("tier", ["gateway", "inference", "inference.pools.default", "scaler"])
def test_pods_leave_a_lost_node_after_some_seconds(
    tier: str, tolerations: list[Any], seconds: int | None, added: tuple[str, ...]
) -> None:
    values = at(tier, {"tolerations": tolerations, "tolerationSeconds": seconds})
    objects = render(merge(at("inference.autoscaling.source", "demand"), values))
    suffix = tier.rpartition(".")[2].replace("inference", "default")
    spec = one(objects, "Deployment", suffix)["spec"]["template"]["spec"]
    expected = [*tolerations, *[lost(seconds or 0, taint) for taint in added]]
    assert spec.get("tolerations", []) == expected


def test_all_pods_leave_a_lost_node_soon() -> None:
    for thing in of_kind(render(COMBINATIONS["scaled-to-zero"]), "Deployment"):
        assert thing["spec"]["template"]["spec"]["tolerations"] == [lost(10, taint) for taint in LOST]
