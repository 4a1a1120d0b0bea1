"""NetworkPolicies: what is allowed works, what is not is refused. Looks whether the cluster enforces them at all."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic_ns

import pytest
import yaml
from cluster import QUICK, Release, mock_models, release, run, said_by

DENY_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny-all"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
}
REACH = """
import socket, sys, time
sys.stdout = open("/dev/termination-log", "w")
time.sleep(4)  # a new pod's rules are there a moment after the pod
host, port = sys.argv[1].rsplit(":", 1)
try:
    socket.create_connection((host, int(port)), timeout=4).close()
    print("reached")
except OSError as error:
    print("refused", error)
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Release]:
    values = {
        "models": mock_models(quick=QUICK),
        "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
    }
    with release(values, "hub-policies") as hub:
        yield hub


def reach(hub: Release, address: str, namespace: str = "default", **labels: str) -> bool:
    """Whether a fresh pod with these labels can connect to an address."""
    overrides = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "reach", "image": "inferencehub-gateway:dev",
                                 "command": ["/opt/venv/bin/python", "-c", REACH, address]}]},
    }  # fmt: skip
    said = said_by(f"reach-{monotonic_ns() % 10**9}", namespace, "inferencehub-gateway:dev", overrides)
    assert "reached" in said or "refused" in said, said
    return "reached" in said


@pytest.fixture(scope="module")
def enforced(hub: Release) -> None:
    """Skips where a policy that denies everything denies nothing."""
    namespace = "hub-policies-probe"
    run("kubectl", "create", "namespace", namespace)
    try:
        run("kubectl", "apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(DENY_ALL))
        if reach(hub, f"{hub.ready('gateway')[0].ip}:3000", namespace):
            pytest.skip("this cluster does not enforce NetworkPolicies")
    finally:
        run("kubectl", "delete", "namespace", namespace, "--wait=false")


@pytest.mark.usefixtures("enforced")
def test_what_is_allowed_works_and_what_is_not_is_refused(hub: Release) -> None:
    gateway, pod = hub.ready("gateway")[0].ip, hub.ready("inference")[0].ip
    run("helm", "test", hub.name, "-n", hub.namespace, "--timeout", "60s")
    assert reach(hub, f"{gateway}:3000"), "callers reach the gateway"
    assert not reach(hub, f"{pod}:50051"), "nobody but gateways reaches inference"
    assert not reach(hub, f"{pod}:50052"), "nobody but gateways reaches inference"
    log = run("kubectl", "logs", f"deployment/{hub.gateway}", "-n", hub.namespace)
    assert "TimeoutError" not in log, "gateways reach both of its ports"
    assert not reach(hub, f"{pod}:9090"), "metrics are closed"
    assert not reach(hub, f"{gateway}:9090"), "metrics are closed"
    assert reach(hub, f"{pod}:9090", **{"inferencehub/scrape": "true"}), "a labelled scraper reads metrics"
    assert reach(hub, f"{gateway}:9090", **{"inferencehub/scrape": "true"}), (
        "a labelled scraper reads metrics"
    )
