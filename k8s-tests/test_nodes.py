"""A node that is drained, and a node that is lost, under load. Needs two nodes that take pods."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from time import monotonic
from typing import Any

import aiohttp
import pytest
from cluster import QUICK, eventually, mock_models, nodes, release, run

from tests.load import Load

# Commands that cut the second node off, and heal it; only whoever made the cluster knows them.
CUT, HEAL = os.environ.get("K8S_TEST_CUT_NODE"), os.environ.get("K8S_TEST_HEAL_NODE")


def values(first: str, **inference: Any) -> dict[str, Any]:
    return {
        "models": mock_models(quick=QUICK),
        "example": {"body": '{"features":[1],"model_name":"quick"}', "classId": None},
        # The gateways stand where the test's NodePort is; the pods are spread.
        "gateway": {
            "replicas": 1,
            "service": {"type": "NodePort"},
            "nodeSelector": {"kubernetes.io/hostname": first},
        },
        "inference": {"replicas": 4, "minReadySeconds": 0, **inference},
    }


@pytest.fixture
def two() -> Iterator[tuple[str, str]]:
    found = sorted(nodes())
    if len(found) < 2:
        pytest.skip(f"needs two nodes that take pods, there is {found}")
    yield found[0], found[1]
    run("kubectl", "uncordon", found[1])
    eventually(lambda: found[1] in nodes(), "the node is back")


async def test_drain_of_a_node(two: tuple[str, str], figure: Any) -> None:
    first, second = two
    with release(values(first), "hub-drain") as hub:
        assert second in {pod.node for pod in hub.ready("inference")}
        eventually(lambda: hub.backends_up() == 4, "the gateway sees four pods", every_s=1)
        async with Load(hub.url(), workers=32) as load:
            await asyncio.sleep(2)
            drain = (
                "kubectl",
                "drain",
                second,
                "--ignore-daemonsets",
                "--delete-emptydir-data",
                "--timeout=150s",
            )
            await asyncio.to_thread(run, *drain)
            await asyncio.sleep(2)
        figure(
            f"{load.good + len(load.failed)} sent, {len(load.failed)} failed, longest gap {load.longest_gap:.2f} s"
        )
        assert {pod.node for pod in hub.ready("inference")} == {first}
        assert not load.failed


@pytest.mark.skipif(
    not CUT or not HEAL, reason="K8S_TEST_CUT_NODE and K8S_TEST_HEAL_NODE do not say how to cut a node off"
)
async def test_loss_of_a_node_that_holds_pods(two: tuple[str, str], figure: Any) -> None:
    first, second = two
    assert CUT is not None
    assert HEAL is not None
    with release(values(first), "hub-loss") as hub:
        assert [pod.node for pod in hub.ready("inference")].count(second) == 2
        eventually(lambda: hub.backends_up() == 4, "the gateway sees four pods", every_s=1)
        try:
            async with Load(hub.url(), workers=32) as load:
                await asyncio.sleep(2)
                run("sh", "-c", CUT)
                seen = await asyncio.to_thread(
                    eventually,
                    lambda: hub.backends_up() == 2,
                    "the gateway has taken the lost pods out",
                    30,
                    0.2,
                )
                await asyncio.sleep(5)
        finally:
            run("sh", "-c", HEAL)
        figure(
            f"{load.good + len(load.failed)} sent, {len(load.failed)} failed, lost pods out after {seen:.1f} s, "
            f"slowest request {load.slowest:.1f} s"
        )
        assert not load.failed


@pytest.mark.long
@pytest.mark.parametrize("gateways", [1, 2])
@pytest.mark.skipif(
    not CUT or not HEAL, reason="K8S_TEST_CUT_NODE and K8S_TEST_HEAL_NODE do not say how to cut a node off"
)
async def test_loss_of_a_node_that_holds_a_gateway(two: tuple[str, str], gateways: int, figure: Any) -> None:
    """kube-proxy sends to the lost gateway until Kubernetes counts its node as lost; nothing of ours can change that.
    Then another node gets its pods, after the chart's tolerationSeconds.

    Measured with a new connection a request, as callers without keep-alive have, and 2 s of patience.
    """
    first, second = two
    chosen = values(first)
    chosen["gateway"] = {"replicas": gateways, "service": {"type": "NodePort"}}
    if gateways == 1:
        # A wish, so that another node will do once this one is lost.
        there = {"key": "kubernetes.io/hostname", "operator": "In", "values": [second]}
        wish = [{"weight": 100, "preference": {"matchExpressions": [there]}}]
        chosen["gateway"]["affinity"] = {
            "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": wish}
        }
    chosen["inference"] = {"replicas": 2, "nodeSelector": {"kubernetes.io/hostname": first}}
    assert CUT is not None
    assert HEAL is not None
    with release(chosen, "hub-gateway-loss") as hub:
        assert sorted(pod.node for pod in hub.ready("gateway")) == [first, second][-gateways:]
        url, outcomes, replaced = hub.url(), [], None
        run("sh", "-c", CUT)
        began = monotonic()
        try:
            while monotonic() - began < 105:
                outcomes.append((monotonic() - began, await answered(url)))
                await asyncio.sleep(0.2)
                ready = await asyncio.to_thread(hub.ready, "gateway")
                if replaced is None and [pod.node for pod in ready] == [first] * gateways:
                    replaced = monotonic() - began
        finally:
            run("sh", "-c", HEAL)
        failed = [at for at, why in outcomes if why]
        during = [why for at, why in outcomes if at <= max(failed, default=0.0)]
        figure(Counter(why for why in during if why))
        figure(
            f"{gateways} gateways: last failed request {max(failed, default=0.0):.0f} s after the loss; until then "
            f"{len(failed)} of {len(during)} requests got no answer within 2 s, afterwards none of "
            f"{len(outcomes) - len(during)}; replaced after {replaced or -1:.0f} s"
        )
        assert max(failed, default=0.0) < 90, (
            "until the node counts as lost, 50 s, its endpoints are gone, and other pods are ready"
        )
        assert replaced is not None
        assert len(outcomes) - len(during) > 20


async def answered(url: str) -> str:
    """Why one request on a connection of its own got no answer within 2 s; "" if it got the right one."""
    body = {"features": [1.0], "model_name": "quick"}
    timeout = aiohttp.ClientTimeout(total=2)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as client,
            client.post(f"{url}/predict", json=body) as answer,
        ):
            return "" if answer.status == 200 else f"{answer.status} {await answer.text()}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__
