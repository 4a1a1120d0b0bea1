"""Tokens of an issuer in the cluster: its keys are fetched through the policies, and its tenants have limits."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from time import monotonic
from typing import Any

import aiohttp
import pytest
from cluster import QUICK, Release, eventually, mock_models, release, shown, tls_secret

from tests.authority import Authority
from tests.issuer import AUDIENCE, NAME, Issuer

NAMESPACE, PORT = "hub-tokens", 8443
HOST = f"issuer.{NAMESPACE}.svc"
RATE, BURST = 10, 10
PREDICT = {"features": [1.0], "model_name": "quick"}
# The gateway's image has a Python, which is all that this needs.
SERVER = f"""
import http.server, os, ssl
os.chdir("/keys")
server = http.server.ThreadingHTTPServer(("", {PORT}), http.server.SimpleHTTPRequestHandler)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def objects(issuer: Issuer, authority: Authority) -> list[dict[str, Any]]:
    """The issuer as a pod and a Service, and the authority that gateways trust for it."""
    secure = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "issuer",
        "image": "inferencehub-gateway:dev",
        "command": ["/opt/venv/bin/python", "-c", SERVER],
        "securityContext": secure,
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "keys", "mountPath": "/keys"}, {"name": "tls", "mountPath": "/tls"}],
    }
    volumes = [
        {"name": "keys", "configMap": {"name": "jwks"}},
        {"name": "tls", "secret": {"secretName": "issuer"}},
    ]
    labels = {"app": "issuer"}

    def made(kind: str, name: str, **fields: Any) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": labels}, **fields}

    return [
        made("ConfigMap", "jwks", data={"jwks.json": issuer.key_set("RS256").decode()}),
        made("ConfigMap", "authority", data={"ca.crt": authority.certificate.read_text()}),
        tls_secret("issuer", *authority.signed(HOST)),
        made("Service", "issuer", spec={"selector": labels, "ports": [{"port": PORT}]}),
        made(
            "Pod",
            "issuer",
            spec={
                "containers": [container],
                "volumes": volumes,
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": False,
            },
        ),
    ]


def values(issuer: Issuer, authority: Authority, asked: str = "issuer", rate: int = RATE) -> dict[str, Any]:
    """Of the chart; gateways may ask pods with the label `asked` for keys."""
    keys = {
        "url": f"https://{HOST}:{PORT}/jwks.json",
        "caConfigMap": "authority",
        "egressTo": [{"podSelector": {"matchLabels": {"app": asked}}}],
    }
    return {
        "models": mock_models(quick=QUICK),
        "example": {"body": json.dumps(PREDICT), "classId": None},
        "gateway": {"replicas": 2, "service": {"type": "NodePort"}},
        "networkPolicy": {"enabled": True},
        "auth": {"jwt": {"issuer": NAME, "audiences": [AUDIENCE], "claims": {"tenant": "org"}, "keys": keys}},
        "limits": {"tenants": [{"tenant": "search", "rate": rate, "burst": BURST}]},
        "extraObjects": objects(issuer, authority),
    }


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def hub(issuer: Issuer, authority: Authority) -> Iterator[Release]:
    with release(values(issuer, authority), NAMESPACE) as hub:
        yield hub


async def ask(hub: Release, tokens: list[str], a_second: float) -> Counter[int]:
    """Send a call with each token, over connections of their own, so that each gateway gets its part."""
    url, statuses = f"{hub.url()}/predict", Counter[int]()

    async def call(client: aiohttp.ClientSession, token: str) -> None:
        headers = {"authorization": f"Bearer {token}", "connection": "close"}
        async with client.post(url, json=PREDICT, headers=headers) as answer:
            statuses[answer.status] += 1

    async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as tasks:
        for token in tokens:
            tasks.create_task(call(client, token))
            await asyncio.sleep(1 / a_second)
    return statuses


async def test_tokens_are_verified_by_keys_that_were_fetched(hub: Release, issuer: Issuer) -> None:
    await asyncio.to_thread(shown, hub, 'inferencehub_gateway_reloads_total{setting="HUB_JWT_KEYS"} 1.0')
    good, other = issuer.token(org="ads"), issuer.token(aud="another", org="ads")
    stranger = Issuer().token(org="ads")
    assert await ask(hub, [good] * 10, 50) == {200: 10}
    assert await ask(hub, [other, stranger] * 5, 50) == {401: 10}


async def test_the_tokens_of_a_tenant_share_its_limit_over_both_gateways(
    hub: Release, issuer: Issuer, figure: Any
) -> None:
    seconds = 10
    await asyncio.to_thread(shown, hub, "inferencehub_gateway_peers 2.0")
    tokens = [issuer.token(org="search", sub=f"caller {number}") for number in range(6)]
    statuses = await ask(hub, tokens * RATE * seconds, 6 * RATE)
    allowed = BURST + RATE * seconds
    figure(f"{statuses[200]} calls answered of {sum(statuses.values())}, the tenant may make {allowed}")
    assert set(statuses) == {200, 429}
    assert 0.75 * allowed < statuses[200] < 1.25 * allowed


async def test_changed_limits_need_no_new_pods(
    hub: Release, issuer: Issuer, authority: Authority, figure: Any
) -> None:
    before, began = hub.ready("gateway"), monotonic()
    hub.deploy(values(issuer, authority, rate=1000))
    hub.put_secrets("gateway", *objects(issuer, authority)[:1])  # lets the kubelet look at once
    await asyncio.to_thread(shown, hub, 'inferencehub_gateway_reloads_total{setting="HUB_LIMITS"} 1.0')
    figure(f"other limits were taken {monotonic() - began:.1f} s after helm upgrade began")
    assert hub.ready("gateway") == before
    assert set(await ask(hub, [issuer.token(org="search")] * 60, 60)) == {200}


async def test_only_the_named_issuer_may_be_asked(hub: Release, issuer: Issuer, authority: Authority) -> None:
    """The policy opens the issuer and nothing else at its port; the keys that a gateway has stay in use."""
    reach = f"import socket; print(socket.socket().connect_ex(('{HOST}', {PORT})), flush=True)"
    python = ("--", "timeout", "2", "/opt/venv/bin/python", "-c", reach)

    def closed(pod: str) -> bool:
        try:
            return hub.kubectl("exec", pod, *python).strip() != "0"
        except AssertionError:  # it timed out
            return True

    gateways = [pod.name for pod in hub.ready("gateway")]
    assert not any(closed(pod) for pod in gateways)
    hub.deploy(values(issuer, authority, asked="another"))
    for pod in gateways:  # those who enforce policies learn of a change a while later
        await asyncio.to_thread(eventually, partial(closed, pod), f"the issuer is out of reach of {pod}")
    assert await ask(hub, [issuer.token(org="ads")] * 4, 50) == {200: 4}
