"""Where the scheduler puts pods: over nodes where nodes have no zones, and over zones too where they have.

The nodes are Node objects without a machine, as kwok makes them. They carry a taint, so the pods of this test alone go
there. The pods get a node from the real scheduler, and never run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from cluster import CHART, KIND_VALUES, eventually, run

NAMESPACE = "hub-spread"
TAINT = "hub-spread"
ZONE = "topology.kubernetes.io/zone"
CAPACITY = {"cpu": "8", "memory": "16Gi", "pods": "110"}


def node(name: str, zone: str) -> list[dict[str, Any]]:
    """A Node object that the scheduler takes for a machine, and the Lease by which Kubernetes believes that it lives."""
    labels = {"kubernetes.io/hostname": name, TAINT: "true"} | ({ZONE: zone} if zone else {})
    machine = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]},
    }
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": 40,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }
    return [machine, lease]


@contextmanager
def nodes_of(zones: Mapping[str, str]) -> Iterator[None]:
    """Nodes by name, each in a zone; in none if the zone is "". They and the namespace are gone afterwards."""
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    status = {"capacity": CAPACITY, "allocatable": CAPACITY, "conditions": [ready]}
    patch = json.dumps({"status": status})
    try:
        made = [thing for name, zone in zones.items() for thing in node(name, zone)]
        run("kubectl", "apply", "-f", "-", stdin=yaml.safe_dump_all(made))
        run("kubectl", "patch", "nodes", *zones, "--subresource=status", "--type=merge", f"--patch={patch}")
        eventually(lambda: all(schedulable(name) for name in zones), "the nodes take pods", 20)
        run("kubectl", "create", "namespace", NAMESPACE)
        yield
    finally:
        run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")
        # No kubelet confirms the end of a pod.
        force = ("--all", "--force", "--grace-period=0", "--ignore-not-found")
        run("kubectl", "delete", "pods", "--namespace", NAMESPACE, *force)
        run("kubectl", "delete", "nodes", *zones, "--ignore-not-found")
        run("kubectl", "delete", "leases", "--namespace", "kube-node-lease", *zones, "--ignore-not-found")
        run("kubectl", "wait", "--for=delete", f"namespace/{NAMESPACE}", "--timeout=60s")


def schedulable(name: str) -> bool:
    """Whether a node has its own taint and no other."""
    taints = json.loads(run("kubectl", "get", "node", name, "-o", "json"))["spec"].get("taints", [])
    return [taint["key"] for taint in taints] == [TAINT]


def place(values: dict[str, Any], pods: Mapping[str, int]) -> dict[str, Counter[str]]:
    """Install the chart, and say how many pods of each component each node has."""
    command = ("upgrade", "--install", "hub", str(CHART), "--namespace", NAMESPACE)
    run("helm", *command, "--values", str(KIND_VALUES), "--values", "-", stdin=json.dumps(values))
    found: dict[str, Counter[str]] = {}

    def placed() -> bool:
        items = json.loads(run("kubectl", "get", "pods", "--namespace", NAMESPACE, "-o", "json"))["items"]
        found.clear()
        for item in items:
            if name := item["spec"].get("nodeName"):
                component = item["metadata"]["labels"]["app.kubernetes.io/component"]
                found.setdefault(component, Counter())[name] += 1
        return {component: count.total() for component, count in found.items()} == pods

    eventually(placed, f"{pods} have a node", 30)
    return found


def values(replicas: Mapping[str, int]) -> dict[str, Any]:
    """So many pods of each component, on the nodes of this test."""
    here = {
        "nodeSelector": {TAINT: "true"},
        "tolerations": [{"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}],
    }
    # The scaler runs for the scale to zero of a pool; without the metrics API, which is the whole cluster's.
    zero = {"enabled": True, "models": {"digits": {"slots": 1}}}
    sleeping = {"source": "demand", "demand": {"provider": "existing"}, "scaleToZero": zero}
    return {
        "gateway": {"replicas": replicas["gateway"], **here},
        "inference": {
            **here,
            "pools": {
                "default": {"replicas": replicas["inference"]},
                "asleep": {"autoscaling": sleeping, "nodeSelector": {TAINT: "nowhere"}},
            },
        },
        "scaler": {"replicas": replicas["scaler"], **here},
    }


ASKED = {"gateway": 6, "inference": 6, "scaler": 2}


@pytest.mark.parametrize(
    "zones",
    [
        {"two-1": "", "two-2": ""},
        {"three-1": "", "three-2": "", "three-3": ""},
        {"single-1": "a", "single-2": "a", "single-3": "a"},
        {"pair-1": "a", "pair-2": "b"},
        # As many pods in each zone, although one zone has more nodes.
        {"unequal-1": "a", "unequal-2": "a", "unequal-3": "b"},
        {f"six-{number}": zone for number, zone in enumerate("aabbcc", 1)},
    ],
    ids=["two-nodes", "three-nodes", "one-zone", "two-zones", "zones-of-unequal-size", "three-zones"],
)
def test_pods_stand_on_all_nodes_and_in_all_zones(zones: dict[str, str], figure: Any) -> None:
    with nodes_of(zones):
        found = place(values(ASKED), ASKED)
        figure({component: sorted(count.items()) for component, count in found.items()})
    for component, count in found.items():
        in_zone = Counter(dict.fromkeys(zones.values(), 0))
        for name, pods in count.items():
            in_zone[zones[name]] += pods
        assert max(in_zone.values()) - min(in_zone.values()) <= 1, f"{component}: {in_zone}"
        for zone in in_zone:
            here = [count[name] for name in zones if zones[name] == zone]
            assert max(here) - min(here) <= 1, f"{component} in zone '{zone}': {count}"


@pytest.mark.parametrize(
    "zones",
    [
        {"mixed-1": "a", "mixed-2": "a", "mixed-3": ""},
        {"most-1": "a", "most-2": "", "most-3": "", "most-4": ""},
    ],
    ids=["one-node-without-a-zone", "one-node-with-a-zone"],
)
def test_a_missing_label_takes_no_node_out(zones: dict[str, str], figure: Any) -> None:
    with nodes_of(zones):
        found = place(values(ASKED), ASKED)
        figure({component: sorted(count.items()) for component, count in found.items()})
    for component in ("gateway", "inference"):
        assert found[component].keys() == zones.keys()
