"""The command `doctor`, for processes that run, that did not start, and that speak TLS."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from inferencehub.core.process.doctor.__main__ import tier_here
from tests.authority import Authority, Secret
from tests.cli.run_process import running
from tests.hub import ROOT, mock_model, running_gateway, running_pod
from tests.ports import free_port, free_ports

ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}


async def say(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """The exit code of `python -m`, its standard output and its standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, env={**ENVIRON, "PYTHONPATH": str(ROOT / "services"), **environ}, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.long
async def test_a_process_that_runs(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_pod(tmp_path) as pod:
        own = {"HUB_OPS_PORT": str(pod.ops.port)}
        code, out, err = await say("inferencehub.inference", "doctor", **own)
        assert (code, err) == (0, "")
        assert "OK       models: these serve: quick\n" in out
        code, out, _ = await say("inferencehub.inference", "doctor", "--json", **own)
        assert (code, json.loads(out)["verdict"]) == (0, "ok")
        url = f"http://127.0.0.1:{pod.ops.port}"
        code, out, _ = await say("inferencehub", "doctor", "--url", url)
        assert (code, out.startswith("inference ")) == (0, True)
        code, out, _ = await say("inferencehub.gateway", "doctor", "--url", url)
        assert (code, out.startswith("inference ")) == (0, True)
    async with running_gateway(("no-such-pods.invalid:1",)) as gateway:
        code, out, _ = await say("inferencehub.gateway", "doctor", HUB_OPS_PORT=str(gateway.ops.port))
    assert (code, "FAULT    GRPC_SERVER_URL: 'no-such-pods.invalid' has no address" in out) == (1, True)


@pytest.mark.long
async def test_a_process_that_did_not_start(tmp_path: Path) -> None:
    nowhere, ops = free_ports(2)
    settings = {
        "HUB_OPS_PORT": str(ops),
        "GRPC_SERVER_URL": f"127.0.0.1:{nowhere}",
        "HUB_LIMITS": str(tmp_path / "limits.json"),
        "HUB_JOBS": f"file:{tmp_path}/url",
    }
    code, out, err = await say("inferencehub.gateway", "doctor", **settings)
    assert (code, err) == (1, "")
    silent = (
        f"FAULT    process: http://127.0.0.1:{ops} does not answer: nothing listens there\n         Fix: "
    )
    assert f"{silent}On a laptop, `make run` or `inferencehub run DIR` starts " in out
    in_a_pod = {**settings, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    _, told, _ = await say("inferencehub.gateway", "doctor", **in_a_pod)
    assert f"{silent}Its log says why it does not start (kubectl logs" in told
    assert "FAULT    HUB_LIMITS: HUB_LIMITS names " in out
    assert "FAULT    HUB_JOBS: HUB_JOBS: " in out
    assert f"WARNING  GRPC_SERVER_URL: 127.0.0.1:{nowhere}: nothing listens there" in out
    code, out, _ = await say(
        "inferencehub.inference", "doctor", HUB_OPS_PORT=str(ops), HUB_MODELS="/no/models",
        HUB_GATEWAY="hub:3001", HUB_GATEWAY_TLS_CA=str(tmp_path / "ca.crt"),
    )  # fmt: skip
    assert (code, "FAULT    HUB_MODELS: there is no model repository at '/no/models'" in out) == (1, True)
    assert "FAULT    HUB_GATEWAY_TLS: HUB_GATEWAY_TLS_CA names " in out
    code, out, _ = await say(
        "inferencehub.scaler", "doctor", HUB_OPS_PORT=str(ops), HUB_METRICS_API="false", HUB_CREDENTIALS=str(tmp_path),
        HUB_KUBERNETES_URL=f"https://127.0.0.1:{nowhere}",
    )  # fmt: skip
    assert (code, f"FAULT    HUB_CREDENTIALS: '{tmp_path}' has no token and no ca.crt\n" in out) == (1, True)


async def test_a_setting_that_stops_the_start() -> None:
    code, out, err = await say("inferencehub.gateway", "doctor", HUB_HOLD_S="soon")
    assert (code, err) == (1, "")
    assert "FAULT    settings: HUB_HOLD_S is 'soon', expected a number\n" in out


async def test_a_wrong_command_line() -> None:
    code, out, err = await say("inferencehub.gateway", "doctor", "--loud")
    assert (code, out) == (2, "")
    assert err.startswith("inferencehub: expected doctor [--url ")
    code, _, err = await say("inferencehub.core.process.doctor", "run")
    assert (code, err) == (2, "inferencehub: in a container there is one command: inferencehub doctor\n")


@pytest.mark.long
async def test_an_address_where_no_doctor_answers(tmp_path: Path) -> None:
    mock_model(tmp_path)
    port = free_port()
    code, out, _ = await say("inferencehub", "doctor", "--url", f"http://127.0.0.1:{port}")
    assert (code, "does not answer: nothing listens there" in out) == (1, True)
    code, out, _ = await say("inferencehub", "doctor", "--url", "localhost")
    assert (code, "'localhost' is no address, expected http://host:port" in out) == (1, True)
    async with running_gateway(("127.0.0.1:1",)) as gateway:
        code, out, _ = await say("inferencehub", "doctor", "--url", f"http://127.0.0.1:{gateway.port}")
    assert (code, "it answers with status 404" in out) == (1, True)


@pytest.mark.long
async def test_an_ops_port_with_tls(tmp_path: Path) -> None:
    mock_model(tmp_path / "models")
    authority = Authority(tmp_path, "authority")
    mounted = Secret(tmp_path / "ops")
    mounted.hold(*authority.signed("ops"), authority)
    files = {f"HUB_{name.upper()}": str(file) for name, file in mounted.ops_settings.items()}
    async with running_pod(tmp_path / "models", **mounted.ops_settings) as pod:
        own = {"HUB_OPS_PORT": str(pod.ops.port), **files}
        code, out, _ = await say("inferencehub.inference", "doctor", **own)
        assert (code, "WARNING  HUB_OPS_TLS: its certificate ends in " in out) == (0, True)
        url = f"https://127.0.0.1:{pod.ops.port}"
        assert (await say("inferencehub", "doctor", "--url", url, **files))[0] == 0
        code, out, _ = await say("inferencehub", "doctor", "--url", url)
        assert (code, "HUB_OPS_TLS_CERT names no certificate" in out) == (1, True)
        mounted.hold(*authority.brief("ops", -3600), authority)
        code, out, _ = await say("inferencehub.inference", "doctor", **own)
        assert (code, "FAULT    HUB_OPS_TLS: its certificate has ended 1 hour ago\n" in out) == (1, True)


@pytest.mark.long
async def test_both_tiers_of_a_laptop(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running(tmp_path) as run:
        await run.until("InferenceHub is ready")
        ports = {"HUB_OPS_PORT": str(run.ports[1]), "INFERENCE_OPS_PORT": str(run.ports[3])}
        code, out, _ = await say("inferencehub", "doctor", **ports)
        run.process.terminate()
        await run.end()
    assert code == 0
    assert out.startswith("gateway ")
    assert "\ninference " in out


def test_the_tier_of_a_container_is_that_of_its_first_process(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    for tier in ("gateway", "inference", "scaler"):
        (tmp_path / "1" / "cmdline").write_bytes(f"/opt/venv/bin/python\0-m\0inferencehub.{tier}\0".encode())
        assert tier_here(tmp_path) == tier
    (tmp_path / "1" / "cmdline").write_bytes(b"/pause\0")
    assert tier_here(tmp_path) == "gateway", "this checkout has all of them"
