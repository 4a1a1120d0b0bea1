"""The inference service as process 1 of a process namespace, as in a container: no model leaves zombies behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.hub import ROOT, Hub, eventually, running_gateway, write_model
from tests.ports import free_port
from tests.processes import children

MODEL = """
import os, subprocess

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        code = subprocess.run(["sh", "-c", "sleep 0.05 & exit 3"]).returncode
        return {"y": inputs["x"] * code}
"""
CONFIG = """backend: "python"
    input { name: "x" data_type: TYPE_FP32 dims: [-1] }
    output { name: "y" data_type: TYPE_FP32 dims: [-1] }"""
# A user who is not root may have namespaces, too.
UNSHARE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


def below(pid: int) -> list[int]:
    """All processes below a process, also those that have ended and are not reaped."""
    return [each for child in children(pid) for each in [child, *below(child)]]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are of Linux")
async def test_a_model_that_leaves_orphans_leaves_no_zombies(tmp_path: Path) -> None:
    write_model(tmp_path, "orphans", CONFIG, {"1/model.py": MODEL})
    port = free_port()
    environ = {"PYTHONPATH": str(ROOT / "services"), "PORT": str(port), "HUB_OPS_PORT": "0"}
    environ |= {"HUB_MODELS": str(tmp_path), "HUB_DRAIN_WAIT_S": "0"}
    unshare = await asyncio.create_subprocess_exec(
        *UNSHARE, sys.executable, "-m", "inferencehub.inference", env={**os.environ, **environ},
        stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with (
            running_gateway((f"127.0.0.1:{port}",), hold_s=60.0) as gateway,
            aiohttp.ClientSession() as client,
        ):
            await eventually(lambda: gateway.fleet.ready)
            hub = Hub(gateway, [], client)
            x = {"name": "x", "datatype": "FP32", "shape": [1], "data": [2]}
            for _ in range(20):
                status, answer, _ = await hub.post("/v2/models/orphans/infer", {"inputs": [x]})
                assert (status, answer["outputs"][0]["data"]) == (200, [6.0])
            (first,) = children(unshare.pid)
            # Process 1, the service and the model's process; an orphan that has not been reaped would be one more.
            await eventually(lambda: len(below(first)) == 2, within_s=10)
        os.kill(first, signal.SIGTERM)
        assert await asyncio.wait_for(unshare.wait(), 30) == 0
    finally:
        if unshare.returncode is None:
            unshare.kill()
            await unshare.wait()
