"""The metrics API on a real cluster: who gets the demand, who does not, and that nothing of it stays behind."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from cluster import Release, eventually, proxied, release, run
from demand import API, APISERVICE, ask, demand, left_over, path, readings, values
from open_loop import open_loop

from inferencehub.scaler.metrics_api import certificate
from inferencehub.scaler.metrics_api.certificate import from_secret

SECRET = "hub-inferencehub-scaler-certificate"


@pytest.fixture(scope="module")
def hub() -> Iterator[Release]:
    with release(values(minReplicas=1, maxReplicas=2), "hub-demand") as hub:
        eventually(lambda: demand(hub) is not None, "the demand is served", 30)
        yield hub


def autoscaler(hub: Release) -> dict[str, Any]:
    """Conditions and reading of the pool's autoscaler."""
    status = hub.get(f"hpa/{hub.inference()}")["status"]
    conditions = {one["type"]: one for one in status.get("conditions", [])}
    metrics = status.get("currentMetrics") or [{}]
    reading = metrics[0].get("external", {}).get("current", {}).get("averageValue")
    return {"conditions": conditions, "reading": reading}


def test_a_standard_autoscaler_reads_it(hub: Release, figure: Any) -> None:
    took = eventually(lambda: autoscaler(hub)["reading"] is not None, "the HPA has a reading", 60)
    found = autoscaler(hub)
    assert found["conditions"]["ScalingActive"]["status"] == "True"
    figure(f"the autoscaler's first reading {took:.0f} s after the API, {found['reading']}")


async def test_it_is_what_requests_need(hub: Release, figure: Any) -> None:
    async with open_loop(hub.url()) as load:
        load.rate = 4.0  # two slots of four: half a pod
        await asyncio.sleep(18)
        found = [value for value in await readings(hub, 8) if value is not None]
        load.rate = 0.0
    figure(
        f"4 requests a second of 500 ms on pods of 4 slots: {min(found):.2f} to {max(found):.2f} pods, 0.50 expected"
    )
    assert not load.failed
    assert len(found) >= 7
    assert all(0.4 < value < 0.6 for value in found)


async def test_nobody_else_is_served_and_nothing_breaks(hub: Release, figure: Any) -> None:
    draw = random.Random(5)
    statuses: Counter[str] = Counter()
    pod = hub.ready("scaler")[0]
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with hub.forwarded(f"pod/{pod.name}", 8443) as address:
        connector = aiohttp.TCPConnector(ssl=unverified, limit=4)
        async with aiohttp.ClientSession(connector=connector) as client:
            for _ in range(500):
                where = draw.choice([API, path(hub), "/apis", f"/{draw.getrandbits(64):x}"])
                method = draw.choice(["GET", "POST", "PUT", "DELETE", "PATCH"])
                headers = {"x-remote-user": "system:admin", "authorization": "Bearer x"}
                async with client.request(method, f"https://{address}{where}", headers=headers) as answer:
                    statuses[f"without certificate {answer.status}"] += 1
    with proxied() as url:
        async with aiohttp.ClientSession() as client:
            for _ in range(500):
                text = "".join(draw.choices("abc=,!()%0 é'\"&?#/", k=draw.randrange(1, 30)))
                where = draw.choice(
                    [
                        f"/namespaces/{hub.namespace}/{text}",
                        f"/namespaces/{text}/inferencehub_demand",
                        f"/namespaces/{hub.namespace}/inferencehub_demand?labelSelector=pool%3D{text}",
                        f"/{text}",
                    ]
                )
                method = draw.choice(["GET", "GET", "GET", "POST", "DELETE"])
                async with client.request(method, url + API + where) as answer:
                    statuses[f"malformed {answer.status}"] += 1
    figure(dict(statuses))
    assert statuses.total() == 1000
    assert statuses["without certificate 401"] == 500
    assert {name.split()[-1] for name in statuses} <= {"400", "401", "403", "404", "405"}
    assert demand(hub) is not None


def bundle() -> str:
    """Whom Kubernetes trusts to be the API."""
    spec = json.loads(run("kubectl", "get", "apiservice", APISERVICE, "-o", "json"))["spec"]
    return b64decode(spec["caBundle"]).decode()


async def test_a_certificate_that_ends_soon_is_renewed_and_none_notices(hub: Release, figure: Any) -> None:
    secret = hub.get(f"secret/{SECRET}")
    before = from_secret(secret)
    assert before is not None
    names = tuple(
        f"hub-inferencehub-scaler{end}" for end in ("", f".{hub.namespace}", f".{hub.namespace}.svc")
    )
    # One that all trust already, but whose end is near.
    old = certificate.make(names, before, timedelta(days=30))
    parts = {"tls.crt": old.chain, "tls.key": old.key, "ca.crt": old.authority}
    data = {name: b64encode(text.encode()).decode() for name, text in parts.items()}
    hub.kubectl("patch", f"secret/{SECRET}", "--type=merge", f"--patch={json.dumps({'data': data})}")
    seen = asyncio.create_task(readings(hub, 25))

    def renewed() -> bool:
        now = from_secret(hub.get(f"secret/{SECRET}"))
        return now is not None and now.chain not in (before.chain, old.chain) and now.chain in bundle()

    took = await asyncio.to_thread(eventually, renewed, "a new certificate, trusted", 30)
    found = await seen
    lost = found.count(None)
    figure(f"renewed and trusted after {took:.1f} s, {lost} of {len(found)} readings missed meanwhile")
    assert lost == 0


async def test_an_upgrade_keeps_the_certificate(hub: Release) -> None:
    before = from_secret(hub.get(f"secret/{SECRET}"))
    hub.deploy({**hub.values, "commonLabels": {"team": "a"}})
    assert from_secret(hub.get(f"secret/{SECRET}")) == before
    assert before is not None
    assert before.chain in bundle()


def test_a_second_owner_is_refused_and_told_what_to_do(hub: Release, figure: Any) -> None:
    other = Release("default", "other")
    with pytest.raises(AssertionError) as refused:
        other.deploy(values())
    said = str(refused.value)
    figure(said.strip().splitlines()[-1][-600:])
    assert f"Service {hub.namespace}/hub-inferencehub-scaler already serves the external metrics" in said
    assert "demand.provider to existing" in said


@pytest.mark.long
async def test_one_scaler_serves_releases_of_other_namespaces(hub: Release, figure: Any) -> None:
    await asyncio.to_thread(hub.deploy, {**hub.values, "scaler": {"allNamespaces": True}})
    with release(values(maxReplicas=2, demand={"provider": "existing"}), "hub-guest") as guest:
        took = await asyncio.to_thread(
            eventually, lambda: demand(guest) is not None, "the guest's demand", 40
        )
        async with open_loop(guest.url()) as load:
            load.rate = 4.0
            await asyncio.sleep(18)
            mine, theirs = demand(hub), demand(guest)
            load.rate = 0.0
        reading = await asyncio.to_thread(
            eventually, lambda: autoscaler(guest)["reading"] is not None, "the guest's HPA has a reading", 60
        )
        assert guest.pods("scaler") == []
    figure(
        f"guest's demand after {took:.0f} s, read by its HPA {reading:.0f} s later; under load {theirs} of the guest, {mine} here"
    )
    assert mine == 0.0
    assert theirs == pytest.approx(0.5, abs=0.1)


CLUSTER = {
    "apiservice": APISERVICE,
    "clusterrole": "{namespace}:hub-inferencehub-scaler",
    "clusterrolebinding": "{namespace}:hub-inferencehub-scaler",
    "rolebinding/kube-system": "{namespace}:hub-inferencehub-scaler",
}


def everything(hub: Release) -> dict[str, str]:
    """All that the scaler has outside of its namespace, and its Secret."""
    found = {kind: name.format(namespace=hub.namespace) for kind, name in CLUSTER.items()}
    return found | {f"secret/{hub.namespace}": SECRET}


def test_uninstall_leaves_nothing(hub: Release, figure: Any) -> None:
    assert len(left_over(everything(hub))) == len(CLUSTER) + 1
    run("helm", "uninstall", hub.name, "-n", hub.namespace, "--wait", timeout_s=120)
    assert left_over(everything(hub)) == []
    figure(f"{len(CLUSTER) + 1} objects before, none left")


def test_a_namespace_that_is_deleted_takes_the_api_with_it(figure: Any) -> None:
    with release(values(minReplicas=1, maxReplicas=2), "hub-gone") as hub:
        eventually(lambda: demand(hub) is not None, "the demand is served", 30)
        run("kubectl", "create", "namespace", "hub-bystander")
        run("kubectl", "delete", "namespace", hub.namespace, "--wait=false")
        took = eventually(lambda: not left_over({"apiservice": APISERVICE}), "the APIService is gone", 20)
        # A dead API would keep every namespace of the cluster from ending.
        run("kubectl", "delete", "namespace", "hub-bystander", "--wait", "--timeout=60s", timeout_s=90)
        run("kubectl", "delete", "namespace", hub.namespace, "--wait", "--timeout=120s", timeout_s=150)
    rest = {
        kind: name for kind, name in everything(hub).items() if kind.startswith(("cluster", "rolebinding"))
    }
    for kind, name in rest.items():
        kind, _, namespace = kind.partition("/")
        run("kubectl", "delete", kind, name, *(["-n", namespace] if namespace else []))
    figure(f"APIService gone {took:.1f} s after `kubectl delete namespace`, both namespaces ended")
    assert ask(API) is None
