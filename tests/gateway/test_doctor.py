"""Faults that are planted around a gateway, and what its doctor says of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from inferencehub import __version__
from inferencehub.core.process.doctor.ask import ask
from inferencehub.core.process.doctor.finding import Level, as_text
from inferencehub.gateway.routing.doctor.pods import lacks_streams, of_clocks
from inferencehub.gateway.server import Gateway
from tests.authority import Authority, Secret
from tests.doctors import faults, one, report_at
from tests.gateway.routing.traffic.versions import changed, split_hub, traffic_of, write
from tests.hub import (
    ROOT,
    Hub,
    eventually,
    mock_model,
    running_gateway,
    running_hub,
    running_pod,
    write_model,
)
from tests.ports import free_port
from tests.sockets import silent_port
from tests.valkey import running_valkey

NAME = "no-such-pods.invalid:50051"


def up(gateway: Gateway, count: int = 1) -> bool:
    """Whether so many pods accept work."""
    return sum(pod.up for pod in gateway.fleet.pods.values()) == count


async def test_nothing_is_wrong(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_hub(tmp_path, jobs=f"sqlite:{tmp_path}/jobs/jobs.db") as hub:
        report = await report_at(hub.gateway.ops.port)
    assert faults(report.findings) == []
    assert one(report.findings, "pods", Level.OK).seen == "1 of 1 accept work, by pool default: 1"
    assert one(report.findings, "versions", Level.OK).seen == f"all pods have {__version__}, as this gateway"
    assert one(report.findings, "models", Level.OK).seen == "these serve: quick"


async def test_a_wrong_name_in_dns() -> None:
    async with running_gateway((NAME,)) as gateway:
        report = await report_at(gateway.ops.port)
    assert report.verdict is Level.FAULT
    assert one(report.findings, "GRPC_SERVER_URL").seen.startswith("'no-such-pods.invalid' has no address: ")
    assert "requests get 503" in one(report.findings, "pods").seen


async def test_a_wrong_name_is_no_fault_where_pools_may_sleep() -> None:
    async with running_gateway((NAME,), on_demand_models=("default/quick:4",)) as gateway:
        report = await report_at(gateway.ops.port)
    assert faults(report.findings) == []
    assert one(report.findings, "GRPC_SERVER_URL", Level.WARNING).fix.startswith("A pool that sleeps")


async def test_the_name_of_the_gateways_that_share_limits() -> None:
    async with running_gateway((NAME,), gateways="no-such-gateways.invalid") as gateway:
        report = await report_at(gateway.ops.port)
    assert "'no-such-gateways.invalid' has no address" in one(report.findings, "HUB_GATEWAYS").seen


@pytest.mark.long
async def test_a_port_that_a_policy_shuts_and_one_where_nothing_listens(tmp_path: Path) -> None:
    mock_model(tmp_path)
    refused = free_port()
    with silent_port() as silent:
        async with running_pod(tmp_path) as pod:
            backends = tuple(f"127.0.0.1:{port}" for port in (pod.port, silent, refused))
            async with running_gateway(backends) as gateway:
                await eventually(lambda: up(gateway))
                report = await report_at(gateway.ops.port)
        assert "network policy" in one(report.findings, f"pod 127.0.0.1:{silent}").fix
        one(report.findings, f"pod 127.0.0.1:{refused}", Level.WARNING)
        one(report.findings, "pods", Level.OK)
        async with running_gateway((f"127.0.0.1:{refused}",)) as gateway:
            report = await report_at(gateway.ops.port)
    assert "nothing listens there" in one(report.findings, f"pod 127.0.0.1:{refused}").seen
    assert "none accepts work" in one(report.findings, "pods").seen


@pytest.mark.long
async def test_a_clock_is_compared_when_its_pod_answers_also_if_other_pods_take_long(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_pod(tmp_path) as pod:
        told = await ask("127.0.0.1", pod.ops.port, "/readyz", None, 5)
    await asyncio.sleep(4)  # as long as a pod may take that is silent, and then does not speak TLS
    [found] = of_clocks([("pod", told)])
    assert (found.level, found.seen) == (Level.OK, "1 pod shows the same time")


async def test_a_port_for_streams_that_is_shut(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_hub(tmp_path) as hub:
        (pod,) = hub.gateway.fleet.pods.values()
        await eventually(lambda: not lacks_streams(pod))
        await hub.pods[0].servicer.streams.stop(0)
        await eventually(lambda: lacks_streams(pod))
        report = await report_at(hub.gateway.ops.port)
        assert pod.up
    assert pod.address in one(report.findings, "streams", Level.WARNING).seen


async def test_a_certificate_between_the_tiers_that_has_ended(tmp_path: Path) -> None:
    mock_model(tmp_path / "models")
    authority = Authority(tmp_path, "authority")
    front, back = Secret(tmp_path / "front"), Secret(tmp_path / "back")
    front.hold(*authority.signed("gateway"), authority)
    back.hold(*authority.brief("inference", -60), authority)
    async with running_pod(tmp_path / "models", health_port=0, **back.tier_settings) as pod:
        own = await report_at(pod.ops.port)
        address = f"127.0.0.1:{pod.port}"
        async with running_gateway((address,), **front.tier_settings) as gateway:
            report = await report_at(gateway.ops.port)
    assert one(own.findings, "HUB_TIER_TLS").seen == "its certificate has ended 1 minute ago"
    assert "certificate has expired" in one(report.findings, f"pod {address}").seen


async def test_models_that_do_not_load_and_a_name_that_no_model_has(tmp_path: Path) -> None:
    mock_model(tmp_path)
    write_model(tmp_path, "broken", 'backend: "onnx"', {"1/model.onnx": b"not a model"})
    async with running_hub(tmp_path, default_model="nobody") as hub:
        fleet = hub.gateway.fleet
        await eventually(lambda: fleet.unavailable() and all(pod.described for pod in fleet.pods.values()))
        report = await report_at(hub.gateway.ops.port)
        own = await report_at(hub.pods[0].ops.port)
    assert one(report.findings, "model broken").seen.startswith("no pod serves it: ")
    assert "it names 'nobody'" in one(report.findings, "HUB_DEFAULT_MODEL").seen
    assert one(own.findings, "model broken version 1").seen.startswith("it does not load: ")


async def test_a_model_that_nobody_has_loaded_is_no_fault(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_hub(tmp_path, pod={"model_control": "explicit"}) as hub:
        await eventually(lambda: hub.gateway.fleet.unavailable() == {"quick": "it has not been loaded"})
        report = await report_at(hub.gateway.ops.port)
    assert faults(report.findings) == []


async def test_a_file_of_traffic_that_names_what_no_pod_serves(tmp_path: Path) -> None:
    entry = {"weights": {"6": 1, "2": 1, "9": 0}, "shadow": {"version": "7", "share": 1}}
    async with split_hub(tmp_path, entry) as hub:
        await eventually(lambda: all(pod.described for pod in hub.gateway.fleet.pods.values()))
        missing, shadow = await said_of_traffic(hub)
        write(tmp_path / "traffic.json", {"tumor": {"weights": {"1": 1}}, "m": {"weights": {"1": 1, "2": 0}}})
        traffic_of(hub).look()
        hub.gateway.doctor.forget()
        unknown = await said_of_traffic(hub)
        changed(
            hub,
            tmp_path / "traffic.json",
            {"weights": {"stable": 1}, "aliases": {"stable": "1", "next": "3"}},
        )
        hub.gateway.doctor.forget()
        assert await said_of_traffic(hub) == []
    assert missing == "model 'm': version '6' has the weight 1, and no pod serves it, pods serve 1, 2"
    assert shadow == "model 'm': version '7' is to get copies of calls, and no pod serves it, pods serve 1, 2"
    assert unknown == ["it names model 'tumor', and no pod has such a model: m"]


async def said_of_traffic(hub: Hub) -> list[str]:
    """What the doctor warns of in the file of traffic."""
    report = await report_at(hub.gateway.ops.port)
    return [one.seen for one in report.findings if one.what == "HUB_TRAFFIC" and one.level is Level.WARNING]


async def test_a_required_model_that_is_missing(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_pod(tmp_path, required_models=("quick", "absent")) as pod:
        own = await report_at(pod.ops.port)
        address, probes = f"127.0.0.1:{pod.port}", (f"127.0.0.1:{pod.ops.port}",)
        # A server that is not ours is asked as a whole; ours keeps what it has.
        async with running_gateway((address,), roll_call=probes) as gateway:
            await eventually(lambda: gateway.fleet.pods[address].up)
            report = await report_at(gateway.ops.port)
    assert "it names 'absent'" in one(own.findings, "HUB_REQUIRED_MODELS").seen
    assert one(own.findings, "ready").seen == "it accepts no work: required models do not serve: absent"
    assert (
        "required models do not serve: absent" in one(report.findings, f"pod {address}", Level.WARNING).seen
    )


async def test_a_store_of_jobs_that_is_down_and_one_that_throws_away(tmp_path: Path) -> None:
    nowhere = free_port()
    async with running_gateway((NAME,), jobs=f"redis://me:hidden@127.0.0.1:{nowhere}") as gateway:
        report = await report_at(gateway.ops.port)
    assert one(report.findings, "store of jobs").seen.startswith(f"127.0.0.1:{nowhere} does not answer: ")
    assert "hidden" not in as_text(report)
    async with running_valkey(tmp_path, requirepass="hidden") as valkey:
        url = f"redis://:hidden@127.0.0.1:{valkey.port}"
        async with (
            running_gateway((NAME,), jobs=url) as gateway,
            Redis.from_url(url) as admin,
        ):
            report = await report_at(gateway.ops.port)
            one(report.findings, "store of jobs", Level.OK)
            await admin.config_set("maxmemory", "100mb")
            await admin.config_set("maxmemory-policy", "allkeys-lru")
            gateway.doctor.forget()
            report = await report_at(gateway.ops.port)
            assert "its maxmemory-policy is allkeys-lru" in one(report.findings, "store of jobs").seen
            await admin.config_set("maxmemory-policy", "noeviction")
            await admin.config_set("appendonly", "no")
            gateway.doctor.forget()
            report = await report_at(gateway.ops.port)
            assert "in memory only" in one(report.findings, "store of jobs", Level.WARNING).seen
            await admin.config_set("requirepass", "changed")
            gateway.doctor.forget()
            report = await report_at(gateway.ops.port)
    assert "hidden" not in as_text(report)


async def test_a_file_of_limits_that_is_broken_after_a_change(tmp_path: Path) -> None:
    file = tmp_path / "limits.json"
    file.write_text("{}")
    async with running_gateway((NAME,), limits=str(file)) as gateway:
        file.write_text('{"addresses": {"rate": "many"}}')
        assert gateway.callers.limits is not None
        gateway.callers.limits.look()
        report = await report_at(gateway.ops.port)
    found = one(report.findings, "HUB_LIMITS")
    assert "rate" in found.seen
    assert "last good contents" in found.fix


async def test_keys_of_tokens_that_cannot_be_fetched() -> None:
    url = f"http://127.0.0.1:{free_port()}/keys"
    issuer = {"jwt_issuer": "https://issuer", "jwt_audience": ("hub",)}
    async with running_gateway((NAME,), jwt_keys=url, **issuer) as gateway:
        await eventually(lambda: gateway.callers.files[0].refused)
        report = await report_at(gateway.ops.port)
    assert "could not be fetched" in one(report.findings, "HUB_JWT_KEYS").seen


OLDER = """
import sys, runpy
import inferencehub
inferencehub.__version__ = "0.0.9"
sys.argv = ["inferencehub"]
runpy.run_module("inferencehub.inference", run_name="__main__")
"""


@asynccontextmanager
async def older_pod(models: Path) -> AsyncIterator[int]:
    """A pod of another version, as a process; its port."""
    port = free_port()
    environ = {
        "PYTHONPATH": str(ROOT / "services"),
        "PORT": str(port),
        "HUB_OPS_PORT": "0",
        "HUB_MODELS": str(models),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OLDER, env=environ, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.kill()
        await process.wait()


async def test_pods_of_another_version(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with (
        older_pod(tmp_path) as port,
        running_pod(tmp_path) as pod,
        running_gateway((f"127.0.0.1:{port}", f"127.0.0.1:{pod.port}")) as gateway,
    ):
        await eventually(lambda: up(gateway, 2), 60)
        report = await report_at(gateway.ops.port)
    found = one(report.findings, "versions", Level.WARNING)
    assert found.seen == f"this gateway has {__version__}, and 1 pod has 0.0.9"
