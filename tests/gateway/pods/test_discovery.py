"""Which addresses of a name are used: both families are tried, and never both at a time. And no proxy is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inferencehub.gateway.pods.discovery import Discovery, resolve
from tests.gateway.pod_processes import Name, gateway_to
from tests.hub import Process, eventually, mock_model, running_gateway, running_pod
from tests.ports import free_port


async def test_a_name_is_resolved_to_addresses_of_all_families() -> None:
    assert await resolve("localhost:123") <= {"127.0.0.1:123", "[::1]:123"}
    assert await resolve("127.0.0.1:123") == {"127.0.0.1:123"}
    assert await resolve("::1:123") == {"[::1]:123"}


@pytest.mark.parametrize("listens", ["127.0.0.1", "[::1]"])
async def test_a_pod_that_answers_on_one_of_two_families_is_found(tmp_path: Path, listens: str) -> None:
    mock_model(tmp_path)
    async with running_pod(tmp_path) as pod:
        dead, name = free_port(), Name()
        ports = {"127.0.0.1": dead, "[::1]": dead, listens: pod.port}
        name.addresses = {f"{host}:{port}" for host, port in ports.items()}
        async with gateway_to(name=name, resolve_s=0.1) as hub:
            fleet = hub.gateway.fleet
            await eventually(lambda: fleet.ready)
            assert [address for address, one in fleet.pods.items() if one.up] == [f"{listens}:{pod.port}"]
            status, _, headers = await hub.post("/predict", {"features": [1.0], "model_name": "quick"})
            assert (status, headers["x-served-by"]) == (200, f"{listens}:{pod.port}")


@pytest.mark.long
async def test_a_pod_that_answers_on_both_families_is_one_pod_and_stays_so(tmp_path: Path) -> None:
    mock_model(tmp_path)
    name = Name()
    pod = Process("inference", HUB_MODELS=str(tmp_path))
    name.addresses = {f"127.0.0.1:{pod.port}", f"[::1]:{pod.port}"}
    async with pod, gateway_to(name=name, resolve_s=0.1) as hub:
        fleet, most = hub.gateway.fleet, 0

        def counted(is_ready: bool) -> bool:
            nonlocal most
            most = max(most, sum(one.up for one in fleet.pods.values()))
            return fleet.ready is is_ready

        await eventually(lambda: counted(True))
        assert list(fleet.pods) == [f"127.0.0.1:{pod.port}"]
        pod.send(9)  # type: ignore[arg-type]
        await pod.ended()
        await eventually(lambda: counted(False))
        await eventually(lambda: f"[::1]:{pod.port}" in fleet.pods)  # the other family is tried
        await pod.start()
        await eventually(lambda: counted(True))
        assert most == 1


async def test_addresses_that_pod_probes_find_decide_the_family() -> None:
    found: list[set[str]] = []
    both = {"10.0.0.1:1", "[fd00::1]:1"}

    async def lookup(target: str) -> set[str]:
        return both

    discovery = Discovery(("pods:1",), 0.01, found.append, lookup)
    await discovery.start()
    try:
        await eventually(lambda: found[-1:] == [{"10.0.0.1:1"}])
        discovery.met("[fd00::1]:1")
        await eventually(lambda: found[-1:] == [{"[fd00::1]:1"}])
        discovery.met("[fd00::2]:1")
        await eventually(lambda: found[-1:] == [{"[fd00::1]:1", "[fd00::2]:1"}])
    finally:
        await discovery.stop()


@pytest.mark.parametrize("case", [str.lower, str.upper])
async def test_proxies_in_the_environment_are_not_used_for_pods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: object
) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(case(name), address)  # type: ignore[operator]
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    mock_model(tmp_path)
    async with (
        server,
        running_pod(tmp_path) as pod,
        running_gateway((f"127.0.0.1:{pod.port}",)) as gateway,
    ):
        await eventually(lambda: gateway.fleet.ready, 60)
        assert not asked
