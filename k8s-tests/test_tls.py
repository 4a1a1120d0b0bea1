"""TLS for callers on the cluster: a new certificate, taken from a changed Secret, costs no request.

Models call others through the same port, and follow the Secret too."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import aiohttp
import pytest
from asking_model import ASKS
from cluster import QUICK, Release, eventually, mock_models, release, run, tls_secret
from open_loop import open_loop

from tests.authority import Authority

SECRET = "gateway-tls"
NAME = "hub-inferencehub-gateway.hub-tls.svc.cluster.local"  # by which pods call the gateway
MODELS = mock_models(quick=QUICK)
MODELS["configMap"]["files"] |= ASKS


@pytest.fixture(scope="module")
def hub(authority: Authority) -> Iterator[Release]:
    values = {
        "models": MODELS,
        "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
        "gateway": {"replicas": 2, "service": {"type": "NodePort"}},
        "inference": {"modelCalls": {"enabled": True}},
        "tls": {"callers": {"existingSecret": SECRET}},
        "extraObjects": [tls_secret(SECRET, *authority.signed(NAME), authority.certificate)],
    }
    with release(values, "hub-tls") as hub:
        yield hub


def shown(hub: Release) -> set[str]:
    """The certificates that the gateways show, as PEM."""
    found = set()
    for pod in hub.ready("gateway"):
        with hub.forwarded(f"pod/{pod.name}", 3000) as address:
            host, port = address.split(":")
            found.add(ssl.get_server_certificate((host, int(port)), timeout=10))
    return found


async def test_a_new_certificate_costs_no_request(
    hub: Release, authority: Authority, tmp_path: Path, figure: Any
) -> None:
    """100 requests a second, half of them on new connections; their callers trust the old and the new authority."""
    new = Authority(tmp_path, "new")
    tls = ssl.create_default_context(cafile=str(authority.certificate))
    tls.load_verify_locations(cafile=str(new.certificate))
    tls.check_hostname = False  # nodes have addresses that the certificate does not know
    url = hub.url().replace("http://", "https://")
    async with (
        open_loop(url, "quick", 30.0, fresh=True, tls=tls) as fresh,
        open_loop(url, "quick", 30.0, tls=tls) as kept,
    ):
        fresh.rate = kept.rate = 50.0
        await asyncio.sleep(3)
        before = await asyncio.to_thread(shown, hub)
        await asyncio.to_thread(
            hub.put_secrets, "gateway", tls_secret(SECRET, *new.signed(NAME), new.certificate)
        )
        changed = monotonic()
        await asyncio.to_thread(
            eventually, lambda: not before & shown(hub), "all gateways show the new certificate", 120
        )
        took = monotonic() - changed
        await asyncio.sleep(3)
    sent, failed = fresh.sent + kept.sent, fresh.failed + kept.failed
    figure(f"{sent} requests, {len(failed)} failed; new certificate shown by all after {took:.1f} s")
    assert not failed
    assert sent > 500
    assert all(pod.restarts == 0 for pod in hub.pods("gateway"))


async def test_nothing_is_answered_in_plain(hub: Release) -> None:
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientError):
            await client.get(f"{hub.url()}/v2")


def test_helm_test_speaks_tls(hub: Release) -> None:
    run("helm", "test", hub.name, "-n", hub.namespace, "--timeout", "60s")


def asked(hub: Release) -> tuple[int, Any]:
    """Status of a call of a model that calls another, and what the other one answered."""
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "data": [0.5, 7.0]}
    url = f"{hub.url().replace('http://', 'https://')}/v2/models/asks/infer"
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=anyone))
    try:
        with opener.open(url, json.dumps({"inputs": [tensor]}).encode()) as answer:
            return answer.status, json.load(answer)["outputs"][0]["data"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]


def test_a_model_calls_another_also_when_the_gateway_has_a_new_certificate(
    hub: Release, tmp_path: Path, figure: Any
) -> None:
    hub.look("inference")  # the gateway's certificate may just have changed
    eventually(lambda: asked(hub)[0] == 200, "a model calls another")
    answer = asked(hub)
    before, third = shown(hub), Authority(tmp_path, "third")
    hub.put_secrets("gateway", tls_secret(SECRET, *third.signed(NAME), third.certificate))
    hub.look("inference")
    eventually(lambda: not before & shown(hub), "all gateways show the new certificate")
    took = eventually(lambda: asked(hub) == answer, "models call with the new authority")
    figure(f"models called with the new authority {took:.1f} s after all gateways had the certificate")
    assert [asked(hub) for _ in range(20)] == [answer] * 20
    assert all(pod.restarts == 0 for pod in hub.pods("inference"))
