"""The scaler: when it runs, its environment, its rights, and who may connect to it."""

from __future__ import annotations

from typing import Any

import pytest

from inferencehub.core.process.settings import read_settings
from inferencehub.gateway.settings.gateway import GatewaySettings, OnDemand
from inferencehub.scaler.settings import ScalerSettings
from tests.chart.combinations import ASLEEP, COMBINATIONS
from tests.chart.rendering import Object, Values, at, environ, merge, of_kind, one, render, selects

DEMAND = at("inference.autoscaling.source", "demand")
KEDA = at("inference.autoscaling.source", "keda")
EXISTING = at("inference.autoscaling", {"source": "demand", "demand": {"provider": "existing"}})
ALL = at("scaler.allNamespaces", True)
CERT_MANAGER = at("scaler.certificates", {"source": "certManager", "issuerRef": {"name": "ca"}})
SLEEPS = COMBINATIONS["scaled-to-zero"]
SCALER = "hub-inferencehub-scaler"

READ = ["get", "list", "watch"]
GATEWAYS = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ}
AUTOSCALERS = {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["list"]}
OWNED_API = {
    "apiGroups": ["apiregistration.k8s.io"],
    "resources": ["apiservices"],
    "resourceNames": ["v1beta1.external.metrics.k8s.io"],
    "verbs": ["get", "patch", "delete"],
}
NAMESPACE = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["ml"], "verbs": READ}
POOLS = {"apiGroups": ["apps"], "resourceNames": ["hub-inferencehub-inference-default"]}
SCALE = (
    {**POOLS, "resources": ["deployments"], "verbs": ["get"]},
    {**POOLS, "resources": ["deployments/scale"], "verbs": ["patch"]},
)


def secret(*more: str) -> Object:
    """The rule for the certificate's Secret."""
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [f"{SCALER}-certificate"]}
    return {**rule, "verbs": [*READ, *more]}


def scaler_environ(values: Values) -> dict[str, str]:
    """The scaler's environment."""
    return environ(one(render(values), "Deployment", "-scaler")["spec"]["template"]["spec"])


@pytest.mark.parametrize(
    ("values", "there"),
    [
        ({}, False),
        (at("inference.autoscaling.source", "prometheus"), False),
        (at("inference.autoscaling.source", "none"), False),
        (EXISTING, False),
        (DEMAND, True),
        (KEDA, True),
        (merge(EXISTING, at("inference.autoscaling.scaleToZero", ASLEEP)), True),
    ],
)
def test_it_is_there_where_a_pool_needs_it(values: dict[str, Any], there: bool) -> None:
    kinds = {thing["kind"] for thing in render(values) if thing["metadata"]["name"] == SCALER}
    needed = {"Deployment", "NetworkPolicy", "PodDisruptionBudget", "Role", "RoleBinding", "Service"}
    assert kinds == (needed | {"ServiceAccount"} if there else set())


def test_its_whole_environment() -> None:
    assert scaler_environ(DEMAND) == {
        "PORT": "8443",
        "HUB_OPS_PORT": "9090",
        "HUB_LOG_FORMAT": "json",
        "HUB_LOG_LEVEL": "info",
        "HUB_RELEASE": "hub",
        "HUB_NAMESPACE": "ml",
        "HUB_ALL_NAMESPACES": "false",
        "HUB_METRICS_API": "true",
        "HUB_SERVICE": SCALER,
        "HUB_CERTIFICATE_SECRET": f"{SCALER}-certificate",
        "HUB_MAKE_CERTIFICATE": "true",
        "HUB_ACTIVATE": "default=hub-inferencehub-inference-default",
    }


def test_values_change_its_environment() -> None:
    assert scaler_environ(KEDA)["HUB_METRICS_API"] == "false"
    assert scaler_environ(merge(DEMAND, ALL))["HUB_ALL_NAMESPACES"] == "true"
    assert scaler_environ(merge(DEMAND, CERT_MANAGER))["HUB_MAKE_CERTIFICATE"] == "false"
    assert scaler_environ(merge(DEMAND, at("scaler.port", 10250)))["PORT"] == "10250"
    targets = read_settings(ScalerSettings, scaler_environ(SLEEPS)).targets()
    assert targets == {"default": "hub-inferencehub-inference-default"}


def test_gateways_and_pods_get_the_pools_that_scale_to_zero() -> None:
    objects = render(SLEEPS)
    gateway = environ(one(objects, "Deployment", "gateway")["spec"]["template"]["spec"])
    assert read_settings(GatewaySettings, gateway).on_demand() == {
        "digits": OnDemand("default", 4, 8),
        "v1-mock": OnDemand("default", 2, 0),
        "slow": OnDemand("keda", 1, 0),
    }
    for pool in ("default", "keda", "still"):
        spec = one(objects, "Deployment", f"-{pool}")["spec"]["template"]["spec"]
        assert environ(spec)["HUB_POOL"] == pool
    awake = environ(one(render(DEMAND), "Deployment", "gateway")["spec"]["template"]["spec"])
    assert "HUB_ON_DEMAND_MODELS" not in awake


def test_it_is_the_gateways_image_with_another_command() -> None:
    objects = render(
        merge(DEMAND, at("gateway.image", {"repository": "registry.example.com/hub", "tag": "7"}))
    )
    spec = one(objects, "Deployment", "-scaler")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "registry.example.com/hub:7"
    assert container["command"] == ["/opt/venv/bin/python", "-m", "inferencehub.scaler"]
    assert spec["automountServiceAccountToken"] is True
    assert spec["serviceAccountName"] == SCALER


@pytest.mark.parametrize(
    ("values", "own", "of_the_cluster"),
    [
        (DEMAND, [GATEWAYS, secret("update"), AUTOSCALERS, *SCALE], [OWNED_API, NAMESPACE]),
        (merge(DEMAND, CERT_MANAGER), [GATEWAYS, secret(), AUTOSCALERS, *SCALE], [OWNED_API, NAMESPACE]),
        (merge(DEMAND, ALL), [secret("update"), AUTOSCALERS, *SCALE], [GATEWAYS, OWNED_API, NAMESPACE]),
        (KEDA, [GATEWAYS, AUTOSCALERS], None),
        (SLEEPS, [GATEWAYS, secret("update"), AUTOSCALERS, *SCALE], [OWNED_API, NAMESPACE]),
        (
            merge(EXISTING, at("inference.autoscaling.scaleToZero", ASLEEP)),
            [GATEWAYS, AUTOSCALERS, *SCALE],
            None,
        ),
    ],
)
def test_it_may_do_this_and_no_more(
    values: dict[str, Any], own: list[Object], of_the_cluster: list[Object] | None
) -> None:
    objects = render(values)
    (role,) = of_kind(objects, "Role")
    assert role["rules"] == own
    assert [thing["rules"] for thing in of_kind(objects, "ClusterRole")] == (
        [] if of_the_cluster is None else [of_the_cluster]
    )


def test_the_rights_go_to_its_account_alone() -> None:
    objects = render(DEMAND)
    bindings = of_kind(objects, "RoleBinding") + of_kind(objects, "ClusterRoleBinding")
    given = {
        (thing["metadata"].get("namespace"), thing["roleRef"]["kind"], thing["roleRef"]["name"])
        for thing in bindings
    }
    assert given == {
        ("ml", "Role", SCALER),
        ("kube-system", "Role", "extension-apiserver-authentication-reader"),
        (None, "ClusterRole", f"ml:{SCALER}"),
    }
    for thing in bindings:
        assert thing["subjects"] == [{"kind": "ServiceAccount", "name": SCALER, "namespace": "ml"}]


def test_names_of_the_cluster_tell_namespaces_and_releases_apart() -> None:
    names = {
        thing["metadata"]["name"]
        for release, namespace in (("hub", "ml"), ("hub", "shop"), ("blue", "ml"), ("b", "a-b"), ("b-b", "a"))
        for thing in of_kind(render(DEMAND, release, namespace), "ClusterRole")
    }
    assert len(names) == 5


def test_the_api_leads_to_its_service() -> None:
    objects = render(DEMAND)
    (api,) = of_kind(objects, "APIService")
    assert api["metadata"]["name"] == "v1beta1.external.metrics.k8s.io"
    assert "annotations" not in api["metadata"]
    assert api["spec"] == {
        "group": "external.metrics.k8s.io",
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "service": {"name": SCALER, "namespace": "ml", "port": 443},
    }
    ports = one(objects, "Service", "-scaler")["spec"]["ports"]
    assert [(port["name"], port["port"]) for port in ports] == [("https", 443), ("ops", 9090)]


def test_its_secret_is_empty_so_that_no_upgrade_takes_the_certificate_away() -> None:
    (found,) = of_kind(render(DEMAND), "Secret")
    assert found["metadata"]["name"] == f"{SCALER}-certificate"
    assert found.keys() == {"apiVersion", "kind", "metadata", "type"}
    assert found["type"] == "Opaque"


def test_cert_manager_makes_the_certificate_where_it_is_asked_to() -> None:
    objects = render(merge(DEMAND, CERT_MANAGER))
    assert of_kind(objects, "Secret") == []
    (certificate,) = of_kind(objects, "Certificate")
    names = [SCALER, f"{SCALER}.ml", f"{SCALER}.ml.svc"]
    spec = {"secretName": f"{SCALER}-certificate", "dnsNames": names, "usages": ["server auth"]}
    assert certificate["spec"] == {**spec, "issuerRef": {"name": "ca"}}
    (api,) = of_kind(objects, "APIService")
    source = {"cert-manager.io/inject-ca-from": f"ml/{certificate['metadata']['name']}"}
    assert api["metadata"]["annotations"] == source


def rules(values: Values, policy: str, way: str) -> list[tuple[list[int], list[Any]]]:
    """Ports and peers of each rule of a NetworkPolicy; [] where anyone may."""
    spec = one(render(values), "NetworkPolicy", policy)["spec"]
    peers = "from" if way == "ingress" else "to"
    return [([port["port"] for port in rule["ports"]], rule.get(peers, [])) for rule in spec[way]]


def test_the_api_server_reaches_it_and_it_reaches_gateways() -> None:
    (api, anyone), (metrics, _) = rules(DEMAND, "-scaler", "ingress")
    assert (api, anyone, metrics) == ([8443], [], [9090])
    (dns, _), (ops, (gateways,)), (server, anywhere) = rules(DEMAND, "-scaler", "egress")
    assert (dns, ops, server, anywhere) == ([53, 53], [9090], [443, 6443], [])
    labels = one(render(DEMAND), "Deployment", "gateway")["spec"]["template"]["metadata"]["labels"]
    assert gateways.keys() == {"podSelector"}
    assert selects(gateways["podSelector"]["matchLabels"], labels)


def test_keda_reads_it_where_keda_is_used() -> None:
    (ports, (peer,)), _ = rules(KEDA, "-scaler", "ingress")
    assert ports == [9090]
    assert peer == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}


def test_gateways_let_in_the_scaler_that_asks_them() -> None:
    objects = render(merge(DEMAND, ALL))
    scaler = one(objects, "Deployment", "-scaler")["spec"]["template"]["metadata"]["labels"]
    gateway = one(objects, "Deployment", "gateway")["spec"]["template"]["metadata"]["labels"]

    def peers(values: Values) -> list[Any]:
        return [
            peer for ports, found in rules(values, "gateway", "ingress") if ports == [9090] for peer in found
        ]

    assert len(peers({})) == 1
    own, _ = peers(DEMAND)
    assert own.keys() == {"podSelector"}
    assert selects(own["podSelector"]["matchLabels"], scaler)
    other, _ = peers(EXISTING)
    assert other["namespaceSelector"] == {}
    assert selects(other["podSelector"]["matchLabels"], scaler)
    assert not selects(other["podSelector"]["matchLabels"], gateway)
    _, (_, (every,)), _ = rules(merge(DEMAND, ALL), "-scaler", "egress")
    assert every["namespaceSelector"] == {}
    assert selects(every["podSelector"]["matchLabels"], gateway)
    assert not selects(every["podSelector"]["matchLabels"], scaler)
