"""The metrics API over real TLS: what an autoscaler gets, and what other callers get."""

from __future__ import annotations

import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from inferencehub.core.http1.server import listen
from inferencehub.core.values.demand import ModelDemand, Report
from inferencehub.scaler.demand.gateways import Release
from inferencehub.scaler.demand.total import Total
from inferencehub.scaler.kube import Kube
from inferencehub.scaler.metrics_api import certificate
from inferencehub.scaler.metrics_api.api import MetricsApi, Refused, selector
from inferencehub.scaler.metrics_api.callers import Callers
from tests.authority import Authority, client
from tests.long_runs import part_of

BASE = "/apis/external.metrics.k8s.io/v1beta1"
VALUES = f"{BASE}/namespaces/prod/inferencehub_demand"


def total(**pools: float) -> Total:
    """A total whose last ten seconds needed so many pods."""
    found, now = Total(), monotonic()
    report = Report(1.0, [ModelDemand(pool, "m", "1", pods, 0.0, 1) for pool, pods in pools.items()])
    for second in range(10):
        found.add(now - 9 + second, 1, 1, [report])
    return found


def silent() -> Total:
    """A total whose gateways never answered."""
    found = Total()
    found.add(monotonic(), 2, 1, [])
    return found


class Api:
    """A metrics API that runs, and clients with several certificates."""

    def __init__(
        self, port: int, trusted: str, good: Authority, evil: Authority, statuses: Counter[int]
    ) -> None:
        self.url = f"https://localhost:{port}"
        self.statuses = statuses
        self.clients = {
            "server": client(trusted, good.signed("front-proxy-client")),
            "nobody": client(trusted),
            "other": client(trusted, good.signed("somebody-else")),
            "stranger": client(trusted, evil.signed("front-proxy-client")),
        }

    async def get(self, path: str, who: str = "server", method: str = "GET") -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.clients[who])) as session,
            session.request(method, self.url + path) as answer,
        ):
            return answer.status, await answer.json()


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[Api]:
    for name in ("good", "evil"):
        (tmp_path / name).mkdir()
    good, evil = Authority(tmp_path / "good", "cluster"), Authority(tmp_path / "evil", "cluster")

    async def unchanged() -> None:
        """There is one authority for the whole test."""

    callers = Callers(Kube("", tmp_path), unchanged)
    await callers.read(
        {
            "requestheader-client-ca-file": good.certificate.read_text(),
            "requestheader-allowed-names": '["front-proxy-client"]',
        }
    )
    made = certificate.make(("localhost",), None)
    totals = {
        Release("prod", "hub"): total(default=1.25, gpu=0.0),
        Release("prod", "new"): silent(),
        Release("test", "hub"): total(default=7.0),
    }
    statuses: Counter[int] = Counter()
    runner = web.AppRunner(MetricsApi(totals, callers, lambda status: statuses.update([status])).app)
    await runner.setup()
    sock = listen(0)
    await web.SockSite(runner, sock, ssl_context=made.context(callers.authority)).start()
    try:
        yield Api(sock.getsockname()[1], made.authority, good, evil, statuses)
    finally:
        await runner.cleanup()


async def test_an_autoscaler_gets_the_demand_for_its_pool(tmp_path: Path) -> None:
    async with running(tmp_path) as api:
        status, listed = await api.get(f"{VALUES}?labelSelector=pool%3Ddefault%2Crelease%3Dhub")
        assert status == 200
        assert (listed["kind"], listed["apiVersion"]) == (
            "ExternalMetricValueList",
            "external.metrics.k8s.io/v1beta1",
        )
        (item,) = listed["items"]
        assert item["value"] == "1250m"
        assert item["metricName"] == "inferencehub_demand"
        assert item["metricLabels"] == {"release": "hub", "pool": "default"}
        assert 9 <= item["windowSeconds"] <= 14
        assert len(item["timestamp"]) == len("2026-01-01T00:00:00Z")
        # Zero is a value, and a pool of another namespace is not meant.
        status, listed = await api.get(f"{VALUES}?labelSelector=release%3Dhub,pool%3Dgpu")
        assert [item["value"] for item in listed["items"]] == ["0m"]
        status, listed = await api.get(f"{VALUES}?labelSelector=release%3D%3Dhub")
        assert [item["metricLabels"]["pool"] for item in listed["items"]] == ["default", "gpu"]


async def test_kubernetes_learns_which_metrics_there_are(tmp_path: Path) -> None:
    async with running(tmp_path) as api:
        status, listed = await api.get(BASE)
        assert status == 200
        assert (listed["kind"], listed["groupVersion"]) == (
            "APIResourceList",
            "external.metrics.k8s.io/v1beta1",
        )
        assert [(one["name"], one["namespaced"], one["verbs"]) for one in listed["resources"]] == [
            ("inferencehub_demand", True, ["get"])
        ]
        for path in ("/apis", "/openapi/v2", "/openapi/v3", "/"):
            status, said = await api.get(path)
            assert (status, said["kind"], said["reason"]) == (404, "Status", "NotFound")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("release%3Dold,pool%3Ddefault", "no gateway of release 'old' is known in namespace 'prod', the releases there are: hub, new"),
        ("release%3Dnew,pool%3Ddefault", "the gateways of release 'new' have not all answered for too long, or not yet"),
        ("release%3Dhub,pool%3Dtpu", "nothing has the labels release=hub,pool=tpu, the pools of the release are: default, gpu"),
    ],
)  # fmt: skip
async def test_what_is_not_known_is_not_zero(tmp_path: Path, query: str, why: str) -> None:
    async with running(tmp_path) as api:
        status, said = await api.get(f"{VALUES}?labelSelector={query}")
        assert (status, said["kind"], said["status"], said["code"]) == (404, "Status", "Failure", 404)
        assert said["message"] == why


async def test_who_has_no_right_certificate_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as api:
        for path in (BASE, VALUES, "/"):
            assert (await api.get(path, "nobody"))[0] == 401
            assert (await api.get(path, "other"))[0] == 403
            with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                await api.get(path, "stranger")


async def test_nothing_that_is_sent_is_a_5xx(tmp_path: Path) -> None:
    draw = random.Random(20)
    paths = [
        "",
        "/namespaces",
        "/namespaces/prod",
        "/namespaces/prod/other",
        "/namespaces/prod/inferencehub_demand",
    ]
    signs = "abc=,!()%0 \u00e9~'\"&?#"
    async with running(tmp_path) as api:
        for index in range(part_of(1000)):
            text = "".join(draw.choices(signs, k=draw.randrange(30)))
            who = draw.choice(["server", "nobody", "other"])
            method = draw.choice(["GET", "GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"])
            status, _ = await api.get(f"{BASE}{draw.choice(paths)}/?labelSelector={text}", who, method)
            assert status < 500, (index, text)
            assert status == {"nobody": 401, "other": 403}.get(who, status)
        assert sum(api.statuses.values()) == part_of(1000)


@pytest.mark.parametrize("text", ["a", "a!=b", "a in (b)", "=b", "a=b,", "!a", ",", "a=b,c"])
def test_a_selector_that_is_more_than_equals_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="name=value"):
        selector(text)


def test_a_selector_is_read() -> None:
    assert selector("") == {}
    assert selector("a=b, c == d,e=") == {"a": "b", "c": "d", "e": ""}
