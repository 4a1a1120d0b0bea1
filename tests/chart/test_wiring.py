"""References between objects: selectors, ports, names, budgets, policies, monitors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import (
    WORKLOADS,
    Object,
    at,
    environ,
    merge,
    of_kind,
    one,
    pods,
    render,
    selects,
    texts,
)

every = pytest.mark.parametrize("name", COMBINATIONS)
Labels = Mapping[str, str]
GRPC = (50051, 50052)  # calls, and the streams of gateways


def deployments_of(objects: list[Object], selector: Labels) -> list[Object]:
    """The Deployments and StatefulSets whose pods a selector finds."""
    return [
        thing
        for thing in objects
        if thing["kind"] in WORKLOADS and selects(selector, thing["spec"]["template"]["metadata"]["labels"])
    ]


@every
def test_selectors_find_the_pods_of_one_deployment(name: str) -> None:
    objects = render(COMBINATIONS[name])
    for thing in of_kind(objects, "Deployment"):
        assert deployments_of(objects, thing["spec"]["selector"]["matchLabels"]) == [thing]
    for thing in of_kind(objects, "Service"):
        assert len(deployments_of(objects, thing["spec"]["selector"])) == 1


@every
def test_selectors_hold_nothing_that_an_upgrade_changes(name: str) -> None:
    for thing in of_kind(render(COMBINATIONS[name]), "Deployment"):
        selector = thing["spec"]["selector"]["matchLabels"].keys() - {"inferencehub/pool"}
        assert selector == {f"app.kubernetes.io/{part}" for part in ("name", "instance", "component")}
        assert "helm.sh/chart" not in thing["spec"]["template"]["metadata"]["labels"]


@every
def test_services_lead_to_ports_that_are_there(name: str) -> None:
    objects = render(COMBINATIONS[name])
    for service in of_kind(objects, "Service"):
        (deployment,) = deployments_of(objects, service["spec"]["selector"])
        ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    http, grpc = one(objects, "Service", "gateway")["spec"]["ports"]
    assert (http["port"], grpc["port"]) in ((3000, 3001), (80, 3001))
    assert (http["targetPort"], grpc["targetPort"]) == ("http", "grpc")
    secure = "callers" in COMBINATIONS[name].get("tls", {})
    spoken = ("https", "https") if secure else ("http", "kubernetes.io/h2c")
    assert (http["appProtocol"], grpc["appProtocol"]) == spoken


def test_a_service_has_no_port_for_grpc_where_none_is_wanted() -> None:
    without = at("gateway.service.grpcPort", None)
    (http,) = one(render(without), "Service", "gateway")["spec"]["ports"]
    assert (http["name"], http["port"]) == ("http", 3000)
    assert "3001" not in texts(without)["NOTES.txt"]


@every
def test_a_scaler_finds_gateways_by_a_service_that_shows_those_that_are_ready(name: str) -> None:
    objects = render(COMBINATIONS[name], "blue")
    services = of_kind(objects, "Service")
    (found,) = (thing for thing in services if "inferencehub/demand" in thing["metadata"]["labels"])
    assert found["metadata"]["labels"]["inferencehub/demand"] == "true"
    assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "blue"
    assert not found["spec"].get("publishNotReadyAddresses")
    (port,) = found["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("ops", 9090, "ops")
    (deployment,) = deployments_of(objects, found["spec"]["selector"])
    assert deployment["metadata"]["name"].endswith("-gateway")


@every
def test_gateways_know_the_addresses_of_every_pool(name: str) -> None:
    objects = render(COMBINATIONS[name], namespace="shop")
    domain = COMBINATIONS[name].get("clusterDomain", "cluster.local")
    pools = [
        service["metadata"]["name"]
        for service in of_kind(objects, "Service")
        if service["metadata"]["labels"]["app.kubernetes.io/component"] == "inference"
        and service["spec"].get("clusterIP") == "None"
    ]
    env = environ(one(objects, "Deployment", "gateway")["spec"]["template"]["spec"])
    addresses = [f"{pool}.shop.svc.{domain}.:50051" for pool in sorted(pools)]
    assert env["GRPC_SERVER_URL"].split(",") == addresses
    balanced = [f"{pool}-ops.shop.svc.{domain}.:9090" for pool in sorted(pools)]
    assert env["HUB_ROLL_CALL"].split(",") == balanced


@every
def test_services_of_inference_are_headless_but_for_the_ops_port_and_publish_pods_that_are_not_ready(
    name: str,
) -> None:
    for service in of_kind(render(COMBINATIONS[name]), "Service"):
        if service["metadata"]["labels"]["app.kubernetes.io/component"] == "inference":
            balanced = service["metadata"]["name"].endswith("-ops")
            assert service["spec"].get("clusterIP") == (None if balanced else "None")
            assert service["spec"]["publishNotReadyAddresses"] is True


@every
def test_budgets_select_pods_and_let_one_go(name: str) -> None:
    objects = render(COMBINATIONS[name])
    for budget in of_kind(objects, "PodDisruptionBudget"):
        spec = budget["spec"]
        assert len(deployments_of(objects, spec["selector"]["matchLabels"])) == 1
        assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        assert ("minAvailable" in spec) != ("maxUnavailable" in spec)
        assert spec.get("maxUnavailable") not in (0, "0%")


def test_a_budget_of_a_single_pod_lets_it_go() -> None:
    budgets = of_kind(render(), "PodDisruptionBudget")
    assert len(budgets) == 2
    assert all(budget["spec"]["maxUnavailable"] == 1 for budget in budgets)


@every
def test_policies_are_about_every_pod_both_ways(name: str) -> None:
    objects = render(COMBINATIONS[name])
    policies = of_kind(objects, "NetworkPolicy")
    if name == "policies-off":
        assert policies == []
        return
    for _, metadata, _ in pods(objects):
        found = [
            thing
            for thing in policies
            if selects(thing["spec"]["podSelector"]["matchLabels"], metadata["labels"])
        ]
        assert len(found) == 1
        assert found[0]["spec"]["policyTypes"] == ["Ingress", "Egress"]


def admitted(rules: list[dict[str, Any]], port: int) -> list[Any]:
    """The peers of all rules for a port; [None] where anyone may."""
    return [
        peer
        for rule in rules
        if port in [entry["port"] for entry in rule.get("ports", [])]
        for peer in rule.get("from", rule.get("to", [None]))
    ]


def test_policies_let_through_what_is_needed_and_no_more() -> None:
    objects = render()
    labels = {
        metadata["labels"]["app.kubernetes.io/component"]: metadata["labels"]
        for _, metadata, _ in pods(objects)
    }
    rules = {tier: one(objects, "NetworkPolicy", tier)["spec"] for tier in ("gateway", "inference", "test")}

    for port in (3000, 3001):
        assert admitted(rules["gateway"]["ingress"], port) == [None]
    for tier in ("gateway", "inference"):
        *others, scraper = admitted(rules[tier]["ingress"], 9090)
        assert all(selects(other["podSelector"]["matchLabels"], labels["gateway"]) for other in others)
        assert len(others) == (tier == "inference")
        assert scraper["podSelector"] == {"matchLabels": {"inferencehub/scrape": "true"}}
        assert scraper["namespaceSelector"] == {}
    for port in GRPC:
        (caller,) = admitted(rules["inference"]["ingress"], port)
        assert selects(caller["podSelector"]["matchLabels"], labels["gateway"])
        assert not selects(caller["podSelector"]["matchLabels"], labels["test"])
        (backend,) = admitted(rules["gateway"]["egress"], port)
        assert selects(backend["podSelector"]["matchLabels"], labels["inference"])
    assert len(rules["inference"]["egress"]) == 1
    assert "ingress" not in rules["test"]
    for spec in rules.values():
        protocols = [
            entry["protocol"] for rule in spec["egress"] for entry in rule["ports"] if entry["port"] == 53
        ]
        assert sorted(protocols) == ["TCP", "UDP"]


# Which components of a release may connect to which port of which: everyone to the ports for callers, if nothing else is said.
ADMITTED = {
    ("gateway", 3000): {"anyone"},
    ("gateway", 3001): {"anyone"},
    ("gateway", 9090): {"scaler", "scrape"},
    ("inference", 50051): {"gateway"},
    ("inference", 50052): {"gateway"},
    ("inference", 50053): set(),  # the kubelet's probes need no rule
    ("inference", 9090): {"gateway", "scrape"},
    ("jobs", 6379): {"gateway"},
    ("scaler", 8443): {"anyone"},  # the API server is no pod; the scaler asks it for its certificate
    ("scaler", 9090): {"keda", "scrape"},
}


def peer_name(peer: Any) -> str:
    """The component that a peer is, or what else it is."""
    if peer is None:
        return "anyone"
    labels = peer.get("podSelector", {}).get("matchLabels", {})
    if labels.get("inferencehub/scrape") == "true":
        return "scrape"
    namespaces = peer.get("namespaceSelector", {}).get("matchLabels", {}).values()
    return str(labels.get("app.kubernetes.io/component") or next(iter(namespaces), peer))


@every
def test_each_port_is_for_those_who_need_it(name: str) -> None:
    objects = render(COMBINATIONS[name])
    policies = of_kind(objects, "NetworkPolicy")
    for _, metadata, spec in pods(objects) if policies else ():
        component = metadata["labels"]["app.kubernetes.io/component"]
        (policy,) = [
            one for one in policies if selects(one["spec"]["podSelector"]["matchLabels"], metadata["labels"])
        ]
        rules = policy["spec"].get("ingress", [])
        if name in ("policies-narrow", "direct-calls"):  # what a user adds
            rules = [rule for rule in rules if "10.0.0.0/8" not in str(rule)]
        assert all("ports" in rule for rule in rules), "a rule without ports is for all of them"
        ports = {entry["containerPort"] for entry in spec["containers"][0].get("ports", [])}
        assert {entry["port"] for rule in rules for entry in rule["ports"]} <= ports
        for port in ports:
            port_of_table = 8443 if component == "scaler" and port != 9090 else port
            found = {peer_name(peer) for peer in admitted(rules, port)}
            assert found <= ADMITTED[component, port_of_table], (component, port)


def test_init_containers_reach_what_they_declare() -> None:
    rule = {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": "TCP", "port": 443}]}
    source = COMBINATIONS["models-of-init-container"]["models"]
    assert source["initContainer"]["egress"] == [rule]
    found = one(render({"models": source}), "NetworkPolicy", "-inference")["spec"]["egress"]
    assert found[1:] == [rule]
    # Pools that share a source declare it once, and one that is no source any more declares nothing.
    other = {"to": [], "ports": [{"protocol": "TCP", "port": 9000}]}
    pools = {
        "default": {"models": source},
        "copy": {"models": source},
        "other": {"models": {**source, "initContainer": {"image": "x:1", "egress": [other]}}},
        "image": {"models": {"source": "image", "initContainer": {"egress": [{"to": []}]}}},
    }
    found = one(render(at("inference.pools", pools)), "NetworkPolicy", "-inference")["spec"]["egress"]
    assert found[1:] == [rule, other]


def test_narrow_policies_still_let_in_helm_test_and_no_scraper() -> None:
    objects = render(COMBINATIONS["policies-narrow"])
    test = one(objects, "Pod", "-test")
    spec = one(objects, "NetworkPolicy", "gateway")["spec"]
    assert admitted(spec["ingress"], 3001) == admitted(spec["ingress"], 3000)
    block, ours = admitted(spec["ingress"], 3000)
    assert block == {"ipBlock": {"cidr": "10.0.0.0/8"}}
    assert selects(ours["podSelector"]["matchLabels"], test["metadata"]["labels"])
    assert admitted(spec["ingress"], 9090) == []


def test_monitors_find_each_process_once() -> None:
    values = at("inference.pools.gpu", {})
    objects = render(merge(values, at("monitoring.serviceMonitor.enabled", True)))
    selector = of_kind(objects, "ServiceMonitor")[0]["spec"]["selector"]["matchLabels"]
    services = [
        thing for thing in of_kind(objects, "Service") if selects(selector, thing["metadata"]["labels"])
    ]
    scraped = [
        deployments_of(objects, service["spec"]["selector"])[0]["metadata"]["name"] for service in services
    ]
    assert sorted(scraped) == sorted(thing["metadata"]["name"] for thing in of_kind(objects, "Deployment"))
    assert all("ops" in [port["name"] for port in service["spec"]["ports"]] for service in services)

    objects = render(merge(values, at("monitoring.podMonitor.enabled", True)))
    selector = of_kind(objects, "PodMonitor")[0]["spec"]["selector"]
    assert len(deployments_of(objects, selector["matchLabels"])) == 3
    assert selector["matchExpressions"][0]["values"] == ["gateway", "inference"]


def test_ways_in_lead_to_the_gateway() -> None:
    objects = render(merge(COMBINATIONS["ingress-tls"], COMBINATIONS["http-route"]))
    service = one(objects, "Service", "gateway")
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    ingress = of_kind(objects, "Ingress")[0]["spec"]
    assert [rule["host"] for rule in ingress["rules"]] == ["a.example.com", "b.example.com"]
    for rule in ingress["rules"]:
        (path,) = rule["http"]["paths"]
        assert (path["path"], path["pathType"]) == ("/hub", "Prefix")
        assert path["backend"]["service"]["name"] == service["metadata"]["name"]
        assert path["backend"]["service"]["port"]["name"] in ports
    (backend,) = of_kind(objects, "HTTPRoute")[0]["spec"]["rules"][0]["backendRefs"]
    assert backend == {"name": service["metadata"]["name"], "port": ports["http"]}


@pytest.mark.parametrize("kind", ["Prefix", "Exact", "ImplementationSpecific"])
def test_the_type_of_the_path_is_a_value(kind: str) -> None:
    values = {
        "ingress": {"enabled": True, "hosts": ["a.example.com"], "path": "/hub(/|$)(.*)", "pathType": kind}
    }
    (rule,) = of_kind(render(values), "Ingress")[0]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/hub(/|$)(.*)", kind)


def test_the_service_of_the_gateway_is_what_the_values_say() -> None:
    service = one(render(COMBINATIONS["load-balancer"]), "Service", "gateway")
    assert service["metadata"]["annotations"] == {"a": "b"}
    assert service["metadata"]["labels"]["team"] == "ml"
    ours = {"selector", "ports"}
    assert {key: value for key, value in service["spec"].items() if key not in ours} == {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "loadBalancerClass": "example.com/internal",
        "loadBalancerSourceRanges": ["203.0.113.0/24"],
        "ipFamilyPolicy": "PreferDualStack",
        "ipFamilies": ["IPv6", "IPv4"],
    }
    assert one(render({}), "Service", "gateway")["spec"].keys() == {"type", *ours}
