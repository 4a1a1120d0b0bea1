"""`inferencehub replay` as a user has it: recordings of a real gateway, sent to it again, and to others."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.hub import ROOT, Hub, eventually, mock_model, running_hub, write_model
from tests.several_answers import counting_model

ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
DOUBLES = """
class Model:
    def __init__(self, directory, parameters):
        self.factor = float(parameters["factor"])

    def predict(self, inputs):
        return {"y": inputs["x"] * self.factor}
"""
X = [0.1, 0.7, 100.3]


async def replayed(*arguments: object) -> tuple[int, str, str]:
    """The exit code of the command, its standard output and its standard error."""
    command = (sys.executable, "-m", "inferencehub", "replay", *map(str, arguments))
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**ENVIRON, "PYTHONPATH": str(ROOT / "services")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def models(repository: Path, factor: float) -> Path:
    """A model that multiplies `x`, one that counts and gives several answers, and one that is quick."""
    config = f"""backend: "python"
        input {{ name: "x" data_type: TYPE_FP32 dims: [-1] }}
        output {{ name: "y" data_type: TYPE_FP32 dims: [-1] }}
        parameters {{ key: "factor" value {{ string_value: "{factor}" }} }}"""
    write_model(repository, "times", config, {"1/model.py": DOUBLES})
    counting_model(repository)
    mock_model(repository)
    return repository


@asynccontextmanager
async def recording_hub(
    tmp_path: Path, factor: float = 2.0, **settings: Any
) -> AsyncIterator[tuple[Hub, Path]]:
    """A hub that records all calls, and its folder."""
    folder = tmp_path / "calls"
    async with running_hub(
        models(tmp_path / "models", factor), record=str(folder), record_share=1.0, **settings
    ) as hub:
        yield hub, folder


def as_bytes(id: str = "") -> tuple[bytes, dict[str, str]]:
    """A call whose tensors are bytes both ways, and its header."""
    raw = np.array(X, np.float32).tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": [3], "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"id": id, "inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return text + raw, {"Inference-Header-Content-Length": str(len(text))}


async def call(hub: Hub) -> int:
    """Make calls of all kinds, one after the other; how many."""
    path, x = "/v2/models/times/infer", {"name": "x", "datatype": "FP32", "shape": [3], "data": X}
    body, headers = as_bytes("an-id")
    calls: list[tuple[str, dict[str, Any]]] = [
        (path, {"json": {"id": "an-id", "inputs": [x]}}),
        (path, {"data": body, "headers": headers}),
        ("/predict", {"json": {"model_name": "quick", "features": X}}),
        ("/v2/models/counter/generate_stream", {"json": {"count": 3}}),
        (path, {"json": {"inputs": []}}),
        ("/v2/models/no-such/infer", {"json": {"inputs": [x]}}),
    ]
    for target, options in calls:
        async with hub.client.post(hub.url + target, **options) as answer:
            await answer.read()
    return len(calls)


def written(folder: Path, count: int) -> bool:
    """Whether so many calls are in the files."""
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("*.jsonl")) == count


async def test_the_same_models_give_the_same_answers(tmp_path: Path) -> None:
    async with recording_hub(tmp_path) as (hub, folder):
        count = await call(hub)
        await eventually(lambda: written(folder, count))
        code, out, err = await replayed(folder, "--to", hub.url, "--speed", 100, "--limit", count, "--json")
    report = json.loads(out)
    assert (code, report["calls"], report["same"], report["differences"]) == (0, count, count, [])
    assert {(one["recorded"], one["replayed"]) for one in report["statuses"]} == {
        (200, 200),
        (400, 400),
        (404, 404),
    }
    assert report["latency"]["p50"]["ratio"] > 0
    assert report["latency_at_gateway"].keys() == {"p50", "p95", "p99"}
    assert err.startswith(f"{count} calls, in ")


async def test_other_answers_are_found_and_shown(tmp_path: Path) -> None:
    async with recording_hub(tmp_path / "old") as (hub, folder):
        count = await call(hub)
        await eventually(lambda: written(folder, count))
    async with running_hub(models(tmp_path / "new", 3.0)) as other:
        code, out, _ = await replayed(folder, "--to", other.url, "--as-fast-as-possible", "--concurrency", 2)
    assert code == 1
    assert f"{count} calls in " in out
    assert f": {count - 2} the same, 2 differ, 0 without an answer" in out
    assert out.count("/v2/models/times/infer  ") == 2  # as JSON and as bytes
    assert out.count("  $.outputs[0].data[0]: recorded 0.2") == 2, out
