"""`inferencehub run` as a process: what it prints works, a signal ends all, and what it cannot use it says at once."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import sys
from collections import Counter
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from inferencehub.cli.run import repository
from inferencehub.core.auth.key_file import digest, new_key
from tests.authority import Authority, Secret
from tests.authority import client as client_of
from tests.cli.run_process import READY, READY_S, running
from tests.hub import eventually, mock_model
from tests.inference.runtimes.python.calling_models import write_models
from tests.load import drawn
from tests.machine import slowed
from tests.ports import free_port
from tests.processes import children, command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_printed_curl_line_works_and_a_signal_ends_both(
    number: signal.Signals, tmp_path: Path
) -> None:
    async with running(more={"TMPDIR": str(tmp_path)}) as run, asyncio.timeout(READY_S):
        curl, silent, url, data, body = shlex.split((await run.until(r"^  (curl .*)$"))[1])
        assert (curl, silent, data) == ("curl", "-s", "-d")
        async with aiohttp.ClientSession() as client, client.post(url, data=body) as answer:
            assert answer.status == 200
            assert (await answer.json(content_type=None))["error"] == ""
        async with aiohttp.ClientSession() as client, client.get(f"{run.url}/v2/jobs") as answer:
            assert (answer.status, await answer.json()) == (200, {"jobs": [], "cursor": None})
        pages = (await run.until(r"^Pages: (.*?)   "))[1].split(" and ")
        assert [page.rpartition("/")[2] for page in pages] == ["docs", "console"]
        run.process.send_signal(number)
        assert await run.end() == 0
    for port in run.ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
    assert not os.listdir(tmp_path)  # the store of jobs goes with it


async def test_a_model_calls_another_without_any_setting(tmp_path: Path) -> None:
    write_models(tmp_path)
    async with running(tmp_path) as run, asyncio.timeout(READY_S):
        await run.until(READY)
        async with aiohttp.ClientSession() as client:
            body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}]}
            async with client.post(f"{run.url}/v2/models/caller/infer", json=body) as answer:
                assert (answer.status, (await answer.json())["outputs"][0]["data"]) == (200, [3])


async def test_a_model_calls_another_where_the_gateway_speaks_tls(tmp_path: Path) -> None:
    write_models(tmp_path / "models")
    authority = Authority(tmp_path, "authority")
    chain, key = authority.signed("localhost")
    files = {"HUB_TLS_CERT": chain, "HUB_TLS_KEY": key, "HUB_GATEWAY_TLS_CA": authority.certificate}
    more = {name: str(file) for name, file in files.items()}
    tls = client_of(authority.certificate.read_text())
    async with running(tmp_path / "models", more=more) as run, asyncio.timeout(READY_S):
        await run.until(READY)
        url = f"https://localhost:{run.gateway}"
        async with aiohttp.ClientSession() as client:
            body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}]}
            async with client.post(f"{url}/v2/models/caller/infer", json=body, ssl=tls) as answer:
                assert (answer.status, (await answer.json())["outputs"][0]["data"]) == (200, [3])


async def test_with_keys_and_tls_everywhere_the_curl_line_works_with_a_key(tmp_path: Path) -> None:
    """One certificate for both tiers, as on a laptop."""
    mock_model(tmp_path / "models", "mine")
    authority, key = Authority(tmp_path, "authority"), new_key("me")
    secret = Secret(tmp_path / "secret")
    secret.hold(*authority.signed("localhost"), authority)
    (tmp_path / "keys.json").write_text(
        json.dumps({"keys": [{"id": "me", "sha256": digest(key.encode()).hex()}]})
    )
    files = {
        f"HUB_{name.upper()}": file
        for name, file in {**secret.settings, **secret.tier_settings, **secret.ops_settings}.items()
    }
    names = {"HUB_TIER_TLS_SERVER_NAME": "localhost", "HUB_TIER_TLS_CLIENT_NAMES": "localhost"}
    ports = {"HUB_HEALTH_PORT": str(free_port()), "HUB_API_KEYS": str(tmp_path / "keys.json")}
    trusted = client_of(authority.certificate.read_text())
    async with (
        running(tmp_path / "models", more={**files, **names, **ports}) as run,
        asyncio.timeout(READY_S),
    ):
        curl, silent, option, header, url = shlex.split((await run.until(r"^  (curl .*)$"))[1])
        assert (curl, silent, option, header) == ("curl", "-sk", "-H", "Authorization: Bearer $KEY")
        async with aiohttp.ClientSession() as client:
            for sent, status in ((key, 200), ("hub_none", 401)):
                name, value = header.replace("$KEY", sent).split(": ")
                async with client.get(url, headers={name: value}, ssl=trusted) as answer:
                    assert answer.status == status
            body = {"features": [1.0, 2.0], "model_name": "mine"}
            async with client.post(
                url.replace("v2/models", "predict"), json=body, headers={"x-api-key": key}, ssl=trusted
            ) as answer:
                found = await answer.json()
                assert (found["class_id"], found["confidence"]) == drawn(1.0, 2.0)


@pytest.mark.long
async def test_several_inference_services_share_the_requests(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick", delay_ms=5, slots=1)
    async with running(tmp_path, pods=3) as run, asyncio.timeout(READY_S), aiohttp.ClientSession() as client:
        await run.until(READY)

        async def ask(value: int) -> str:
            async with client.post(f"{run.url}/predict", json={"features": [value]}) as answer:
                assert answer.status == 200
                return answer.headers["X-Served-By"]

        seen = Counter(await asyncio.gather(*[ask(value) for value in range(60)]))
        assert sorted(seen) == sorted(f"127.0.0.1:{port}" for port in run.ports[2:5])
        run.process.send_signal(signal.SIGINT)
        assert await run.end() == 0


@pytest.mark.parametrize("inside", [None, (), (".git", "README.md", "lost+found", "__pycache__")])
async def test_without_models_it_says_so_and_starts_nothing(
    tmp_path: Path, inside: tuple[str, ...] | None
) -> None:
    models = tmp_path / "models"
    if inside is not None:
        models.mkdir()
        for name in inside:
            (models / name).write_text("") if name.endswith("md") else (models / name).mkdir()
    async with running(models) as run, asyncio.timeout(READY_S):
        assert await run.end() == 2
        (said,) = "".join(run.lines).splitlines()
        expected = (
            "there is no model repository at" if inside is None else "has no models, expected directories"
        )
        assert said.startswith("inferencehub: ")
        assert expected in said
        assert f"'{models}'" in said
        assert "HUB_MODELS" in said


@pytest.mark.timing
async def test_without_models_it_says_so_within_a_second(tmp_path: Path) -> None:
    took = []
    for _ in range(3):
        began = monotonic()
        async with running(tmp_path) as run:
            await run.until("has no models")
            took.append(monotonic() - began)
    assert min(took) < slowed(1.0)


@pytest.mark.long
async def test_a_second_one_says_which_ports_are_taken_and_what_moves_them() -> None:
    async with running() as first, asyncio.timeout(READY_S):
        await first.until(READY)
        names = ("PORT", "HUB_OPS_PORT", "INFERENCE_PORT", "INFERENCE_OPS_PORT", "HUB_GRPC_PORT")
        taken = [
            f"port {port} is taken (moved by {name})" for port, name in zip(first.ports, names, strict=True)
        ]
        everything = {name: str(port) for name, port in zip(names, first.ports, strict=True)}
        async with running(more=everything) as second:
            assert await second.end() == 2
            said = f"inferencehub: {', '.join(taken)}; does another one run on this machine?\n"
            assert "".join(second.lines) == said
        for name, port in [*everything.items(), ("HUB_STREAM_PORT", everything["PORT"])]:
            async with running(more={name: port}) as second:
                assert await second.end() == 2
                assert f"port {port} is taken (moved by {name}); does" in "".join(second.lines)


async def test_of_several_inference_services_each_needs_a_free_port() -> None:
    with socket.create_server(("", 0)) as taken:
        number = taken.getsockname()[1]
        async with running(pods=3, more={"INFERENCE_PORT": str(number - 2)}) as run:
            assert await run.end() == 2
            assert f"port {number} is taken (moved by INFERENCE_PORT)" in "".join(run.lines)
    async with running(pods=2, more={"INFERENCE_PORT": "65535"}) as run:
        assert await run.end() == 2
        assert "INFERENCE_PORT is 65535, so process 2 has no port; expected a lower one" in "".join(run.lines)


async def test_a_port_that_two_processes_would_share_is_refused() -> None:
    async with running(more={"PORT": "18123", "HUB_OPS_PORT": "18123"}) as run:
        assert await run.end() == 2
        assert "port 18123 is needed 2 times; move it with HUB_OPS_PORT or PORT" in "".join(run.lines)


@pytest.mark.parametrize("moment", ["starting", "listening", "model ready"])
async def test_a_ctrl_c_at_any_moment_leaves_no_traceback_and_no_process(moment: str) -> None:
    async with running() as run, asyncio.timeout(READY_S):
        if moment == "starting":
            await eventually(lambda: run.children("inference"))
        else:
            await run.until(moment)
        run.process.send_signal(signal.SIGINT)
        assert await run.end() == 0


async def test_a_second_ctrl_c_does_not_wait_for_what_runs(tmp_path: Path) -> None:
    mock_model(tmp_path, "slow", delay_ms=25_000)
    async with running(tmp_path) as run, aiohttp.ClientSession() as client:
        await run.until(READY)
        asked = asyncio.create_task(client.post(f"{run.url}/predict", json={"features": [1]}))
        async with aiohttp.ClientSession() as watcher:
            await until_it_runs(watcher, run.ports[3])
        run.process.send_signal(signal.SIGINT)
        await run.until("gateway.*draining")
        run.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            assert await run.end() == 0
        await asyncio.gather(asked, return_exceptions=True)


async def until_it_runs(client: aiohttp.ClientSession, ops_port: int) -> None:
    """Wait until an instance of an inference service is busy."""
    wanted = 'inferencehub_inference_running{model="slow",version="1"} 1.0'
    text = ""
    while wanted not in text:
        async with client.get(f"http://127.0.0.1:{ops_port}/metrics") as answer:
            text = await answer.text()


@pytest.mark.parametrize(("directories", "is_model"), [(["3d-scans/1"], False), (["1"], True)])
def test_a_repository_may_have_models_whose_names_begin_with_a_digit(
    tmp_path: Path, directories: list[str], is_model: bool
) -> None:
    for directory in directories:
        (tmp_path / directory).mkdir(parents=True)
    with repository(tmp_path) as models:
        assert (models != str(tmp_path)) == is_model
        assert (Path(models) / tmp_path.name).exists() == is_model


@pytest.mark.skipif(
    sys.platform != "linux", reason="other kernels do not tell a process that its parent has died"
)
@pytest.mark.parametrize("arguments", [(), ("--reload",)])
async def test_a_kill_9_leaves_no_process(arguments: tuple[str, ...]) -> None:
    async with running(arguments=arguments) as run, asyncio.timeout(READY_S):
        await run.until(READY)
        below = children(run.process.pid)
        assert len(below) >= 2
        run.process.kill()
        await run.process.wait()
        try:
            await eventually(lambda: not any(map(command, below)), within_s=20)
        finally:
            for left in filter(command, below):  # it holds the pipe that the test reads to its end
                os.kill(left, signal.SIGKILL)
