"""NOTES.txt: its commands work when a user pastes them, for the values of the release."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise

import pytest

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import Values, at, merge, of_kind, one, render, texts


def lines(values: Values, release: str = "hub", namespace: str = "ml") -> list[str]:
    """The indented lines: commands."""
    notes = texts(values, release, namespace)["NOTES.txt"]
    return [line.strip() for line in notes.splitlines() if line.startswith("  ")]


@pytest.mark.parametrize("name", COMBINATIONS)
def test_forwarding_and_asking_are_always_there(name: str) -> None:
    found = lines(COMBINATIONS[name], "blue", "shop")
    service = one(render(COMBINATIONS[name], "blue"), "Service", "gateway")
    port = service["spec"]["ports"][0]["port"]
    assert f"kubectl --namespace shop port-forward service/{service['metadata']['name']} 3000:{port}" in found
    grpc = service["spec"]["ports"][1]["port"]
    assert f"kubectl --namespace shop port-forward service/{service['metadata']['name']} 3001:{grpc}" in found
    callers = COMBINATIONS[name].get("tls", {}).get("callers", {})
    curl = "curl -sk" if callers else "curl -s"
    curl += " --cert caller.crt --key caller.key" * ("clientAuthorities" in callers)
    curl += ' -H "Authorization: Bearer $KEY"' * ("auth" in COMBINATIONS[name])
    curl += " https://localhost" if callers else " localhost"
    asked = next(shlex.split(line) for line in found if line.startswith(f"{curl}:3000/predict -d "))
    body = (
        COMBINATIONS[name]
        .get("example", {})
        .get("body", '{"features":[0.5,1.2,-3.4],"model_name":"v1-mock"}')
    )
    assert json.loads(asked[-1]) == json.loads(body)
    assert "helm --namespace shop test blue --timeout 3m" in found


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_deployment_is_waited_for(name: str) -> None:
    found = lines(COMBINATIONS[name])
    for thing in of_kind(render(COMBINATIONS[name]), "Deployment"):
        assert f"kubectl --namespace ml rollout status deployment/{thing['metadata']['name']}" in found


@pytest.mark.parametrize("name", COMBINATIONS)
def test_a_blank_line_stands_between_a_sentence_and_its_commands(name: str) -> None:
    found = texts(COMBINATIONS[name])["NOTES.txt"].splitlines()
    for before, line in pairwise(found):
        assert not line.startswith("  ") or before == "" or before.startswith("  "), line


def test_ways_in_are_named_as_they_are_set() -> None:
    node_port = lines(COMBINATIONS["node-port"])
    assert "PORT=30080" in node_port
    assert any(line.startswith('curl -s "http://$NODE:$PORT/predict"') for line in node_port)
    assert any("nodePort}" in line for line in lines(at("gateway.service.type", "NodePort")))
    assert any(
        line.startswith('curl -s "http://$HOST:3000/predict"')
        for line in lines(COMBINATIONS["load-balancer"])
    )
    assert any(
        line.startswith("curl -s http://hub.example.com/predict ") for line in lines(COMBINATIONS["ingress"])
    )
    tls = lines(COMBINATIONS["ingress-tls"])
    assert any(line.startswith("curl -s https://b.example.com/hub/predict ") for line in tls)
    assert any(
        line.startswith("curl -s http://hub.example.com/predict ")
        for line in lines(COMBINATIONS["http-route"])
    )
    assert sum(line.startswith("curl") for line in lines({})) == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, False),
        (at("gateway.service.type", "LoadBalancer"), True),
        (COMBINATIONS["ingress"], True),
        (COMBINATIONS["http-route"], True),
        (merge(COMBINATIONS["ingress"], COMBINATIONS["api-keys"]), False),
        (merge(COMBINATIONS["ingress"], COMBINATIONS["jwt"]), False),
        (merge(COMBINATIONS["ingress"], COMBINATIONS["client-certificates-untested"]), False),
    ],
)
def test_a_gateway_that_asks_nobody_is_pointed_at(values: Values, said: bool) -> None:
    found = texts(values)["NOTES.txt"]
    assert (
        "Everybody who reaches the gateway from outside of the cluster may call all models" in found
    ) is said


def test_a_quote_in_the_request_stays_in_the_request() -> None:
    body = '{"text":"it\'s good"}'
    asked = next(shlex.split(line) for line in lines(at("example.body", body)) if line.startswith("curl"))
    assert asked[-1] == body


def test_what_the_cluster_must_have_is_said() -> None:
    still = at("inference.autoscaling.source", "none")
    assert "metrics-server" not in texts(still)["NOTES.txt"]
    assert "metrics-server" in texts(merge(still, at("gateway.autoscaling.enabled", True)))["NOTES.txt"]
    assert "metrics-server" in texts()["NOTES.txt"]
    assert "inferencehub/scrape=true" in texts()["NOTES.txt"]
    assert "scrape" not in texts(merge({}, at("networkPolicy.enabled", False)))["NOTES.txt"]


def test_sample_models_are_named_as_such_for_pools_that_were_given_none() -> None:
    said = "No models are given, so these pools serve what their image has in /models: "
    assert f"{said}default." in texts()["NOTES.txt"]
    assert said not in texts(COMBINATIONS["models-of-files"])["NOTES.txt"]
    pools = at(
        "inference.pools",
        {"default": {}, "gpu": {}, "own": {"models": COMBINATIONS["models-of-files"]["models"]}},
    )
    assert f"{said}default, gpu." in texts(pools)["NOTES.txt"]


def test_a_tag_that_may_have_lost_a_zero_is_noticed() -> None:
    values = merge(at("gateway.image.tag", 1.1), at("inference.pools.gpu.image.tag", 1))
    notes = texts(values)["NOTES.txt"]
    assert "\ngateway.image.tag is the number 1.1. YAML reads 1.10 as 1.1" in notes
    assert "\ninference.pools.gpu.image.tag is the number 1. YAML" in notes
    for certain in ("1.10", 20261128, ""):
        assert "is the number" not in texts(at("gateway.image.tag", certain))["NOTES.txt"]
