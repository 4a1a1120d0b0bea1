"""Who calls, in the access lines of both tiers, also where calls of several tenants are merged."""

from __future__ import annotations

import asyncio
import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp

from inferencehub.core.auth.key_file import new_key
from inferencehub.core.process.logs import AccessLog
from inferencehub.inference.server import InferenceServer
from inferencehub.inference.settings import InferenceSettings
from tests.hub import Hub, eventually, running_gateway, write_model

ECHO = """import time

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        time.sleep(float(inputs["x"][0, 0]))
        return {"y": inputs["x"]}
"""
BATCHES = """backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }"""
TENANTS = {"ci": "search", "web": "ads", "alone": ""}
KEYS = {name: new_key(name) for name in TENANTS}


def asked(value: float) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [value]}]}


async def test_a_pod_tells_the_callers_of_a_merged_call(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "echo", BATCHES, {"1/model.py": ECHO})
    entries = [
        {"id": name, "sha256": sha256(key.encode()).hexdigest(), "tenant": TENANTS[name]}
        for name, key in KEYS.items()
    ]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": entries}))
    lines = io.BytesIO()
    chosen: dict[str, Any] = {
        "port": 0,
        "ops_port": 0,
        "models": str(tmp_path / "models"),
        "drain_wait_s": 0.0,
    }
    pod = InferenceServer(InferenceSettings(**chosen), AccessLog("inference", "json", lines))
    await pod.start()
    try:
        await pod.loaded()
        keys = str(tmp_path / "keys.json")
        async with (
            running_gateway((f"127.0.0.1:{pod.port}",), api_keys=keys, hold_s=10.0) as gateway,
            aiohttp.ClientSession() as client,
        ):
            hub = Hub(gateway, [pod], client)

            async def ask(name: str, value: float) -> int:
                headers = {"authorization": f"Bearer {KEYS[name]}", "x-request-id": f"{name}-{value}"}
                return (await hub.post("/v2/models/echo/infer", asked(value), headers=headers))[0]

            await eventually(lambda: ("echo", "") in gateway.table.routes)
            first = asyncio.create_task(ask("alone", 0.5))  # it holds the one instance
            await eventually(lambda: gateway.table.routes[("echo", "")][0].lane.in_use.jobs == 1)
            others = [asyncio.create_task(ask(name, 0.0)) for name in ("ci", "web", "ci")]
            assert await asyncio.gather(first, *others) == [200] * 4

        def written() -> list[dict[str, Any]]:
            assert pod.access is not None
            pod.access.flush()
            return [json.loads(line) for line in lines.getvalue().splitlines()]

        await eventually(lambda: sum(line["rows"] for line in written()) == 4)
        seen = {one: (line["caller"], line["tenant"]) for line in written() for one in line["id"].split(",")}
        assert seen["alone-0.5"] == ("alone", "")
        callers = {caller for line in written() for caller in line["caller"].split(",")}
        assert callers == {"alone", "ci", "web"}
        assert any(
            (line["caller"], line["tenant"], line["rows"]) == ("ci,web", "search,ads", 3)
            for line in written()
        )
    finally:
        await pod.stop()
