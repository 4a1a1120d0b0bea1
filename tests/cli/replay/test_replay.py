"""`inferencehub replay` as a user has it: recordings of a real gateway, sent to it again, and to others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferencehub.core.http1.recording.line import VERSION, Body, RecordedCall, encode
from tests.gateway.keyed_hub import KEYS, bearer, hub_with_keys
from tests.hub import ROOT, Hub, eventually, mock_model, running_hub, write_model
from tests.ports import free_port
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


async def begun(*arguments: object) -> asyncio.subprocess.Process:
    """The command, which runs."""
    command = (sys.executable, "-m", "inferencehub", "replay", *map(str, arguments))
    return await asyncio.create_subprocess_exec(
        *command,
        env={**ENVIRON, "PYTHONPATH": str(ROOT / "services")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def replayed(*arguments: object) -> tuple[int, str, str]:
    """The exit code of the command, its standard output and its standard error."""
    process = await begun(*arguments)
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
    [file] = folder.iterdir()
    with file.open("ab") as half:  # as a gateway leaves it that is killed
        half.write(b'{"version":1,"time":1')
    async with running_hub(models(tmp_path / "new", 3.0)) as other:
        code, out, _ = await replayed(folder, "--to", other.url, "--as-fast-as-possible", "--concurrency", 2)
    assert code == 1
    assert f"{count} calls in " in out
    assert f": {count - 2} the same, 2 differ, 0 without an answer" in out
    assert out.count("/v2/models/times/infer  ") == 2  # as JSON and as bytes
    assert out.count("  $.outputs[0].data[0]: recorded 0.2") == 2, out


def recorded(path: Path, *calls: dict[str, Any]) -> Path:
    """A file with these calls, each with what differs from a call of `quick`."""
    usual = {
        "version": VERSION, "id": "an-id", "trace_id": "", "method": "POST", "path": "/predict", "status": 200,
        "headers": {"content-type": "application/json"}, "answer_headers": {"content-type": "application/json"},
        "body": Body(text=json.dumps({"model_name": "quick", "features": X})), "seconds": 0.01, "server_timing": "",
        "answer": Body(text='{"class_id":2,"confidence":0.94,"error":""}'), "time": 1e9,
    }  # fmt: skip
    path.write_bytes(b"".join(encode(RecordedCall(**{**usual, **call})) + b"\n" for call in calls))
    return path


@asynccontextmanager
async def quick_hub(tmp_path: Path, **settings: Any) -> AsyncIterator[Hub]:
    """A hub with one model, which answers at once unless it is told otherwise."""
    mock_model(tmp_path / "models", **settings)
    async with running_hub(tmp_path / "models") as hub:
        yield hub


@pytest.mark.long
@pytest.mark.timing
async def test_calls_keep_their_distances_divided_by_the_speed(tmp_path: Path) -> None:
    file = recorded(tmp_path / "calls.jsonl", *[{"time": 1e9 + at} for at in (6.0, 0.0, 3.0)])
    async with quick_hub(tmp_path) as hub:
        _, out, err = await replayed(file, "--to", hub.url, "--speed", 4, "--json")
        assert err.splitlines()[0] == "3 calls, in 1.5 s"
        assert json.loads(out)["calls"] == 3
        assert json.loads(out)["late"] == 0
        assert json.loads(out)["seconds"] >= 1.5
        _, out, err = await replayed(file, "--to", hub.url, "--as-fast-as-possible", "--json")
        assert err.splitlines()[0] == "3 calls, as fast as they are answered"
        assert json.loads(out)["calls"] == 3


@pytest.mark.long
@pytest.mark.timing
async def test_it_says_when_it_can_not_keep_up(tmp_path: Path) -> None:
    file = recorded(tmp_path / "calls.jsonl", *[{"time": 1e9 + at / 100} for at in range(3)])
    async with quick_hub(tmp_path, delay_ms=300) as hub:
        _, out, _ = await replayed(file, "--to", hub.url, "--concurrency", 1)
        assert "it could not keep up: 2 calls were sent more than 0.1 s late, the latest by 0." in out
        _, out, _ = await replayed(file, "--to", hub.url, "--concurrency", 3)
        assert "keep up" not in out


@pytest.mark.long
async def test_it_sends_a_key_from_a_file_and_its_own_id(tmp_path: Path) -> None:
    file = recorded(tmp_path / "calls.jsonl", {})
    async with hub_with_keys(tmp_path) as hub:
        code, out, _ = await replayed(file, "--to", hub.url)
        assert (code, "status: recorded 200, now 401" in out) == (1, True)
        body = {"model_name": "quick", "features": X}
        async with hub.client.post(hub.url + "/predict", json=body, headers=bearer("all")) as answer:
            recorded(file, {"answer": Body(text=await answer.text())})
        (tmp_path / "key").write_text(KEYS["all"] + "\n")
        code, out, _ = await replayed(file, "--to", hub.url, "--key-file", tmp_path / "key", "--json")
        assert (json.loads(out)["statuses"], code) == ([{"recorded": 200, "replayed": 200, "calls": 1}], 0)
        assert KEYS["all"] not in out


@pytest.mark.long
async def test_what_can_not_be_done_ends_with_two_and_a_sentence(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    file = recorded(tmp_path / "calls.jsonl", *[{} for _ in range(30)])
    code, out, err = await replayed(file, "--to", nobody, "--as-fast-as-possible")
    assert (code, out, f"inferencehub: {nobody} does not answer: " in err) == (2, "", True)
    code, out, err = await replayed(file, "--to", nobody, "--limit", 3, "--json")
    assert (code, json.loads(out)["unanswered"]) == (2, 3)
    code, out, err = await replayed(file, "--to", "localhost:3000")
    assert (code, "expected http://host:port" in err) == (2, True)
    (tmp_path / "broken.jsonl").write_bytes(file.read_bytes() + b'{"time": 1}\n')
    code, out, err = await replayed(tmp_path / "broken.jsonl", "--to", nobody, "--limit", 40)
    assert (code, out) == (2, "")
    assert (
        "inferencehub: broken.jsonl, line 31: Object missing required field `version`" in err
        or "does not answer" in err
    )
    (tmp_path / "none.jsonl").write_bytes(b"")
    code, out, err = await replayed(tmp_path / "none.jsonl", "--to", nobody)
    assert (code, "there is no recorded call in" in err) == (2, True)
    (tmp_path / "text.jsonl").write_bytes(b"hello\n")
    code, out, err = await replayed(tmp_path / "text.jsonl", "--to", nobody)
    assert (code, err.startswith(f"inferencehub: {tmp_path}/text.jsonl, line 1: ")) == (2, True)
    assert "Traceback" not in err


@pytest.mark.long
async def test_one_that_is_interrupted_says_what_came_so_far(tmp_path: Path) -> None:
    file = recorded(tmp_path / "calls.jsonl", {}, {"time": 1e9 + 600})
    async with quick_hub(tmp_path) as hub:
        process = await begun(file, "--to", hub.url, "--ignore", "class_id", "--ignore", "confidence")
        assert process.stderr is not None
        assert await process.stderr.readline() == b"2 calls, in 600.0 s\n"
        labels = {"front": "http", "model": "quick", "status": "200"}
        values = hub.gateway.metrics.registry.get_sample_value
        await eventually(lambda: values("inferencehub_gateway_request_seconds_count", labels) == 1)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    assert process.returncode == 2
    assert out.startswith((b"1 calls in ", b"0 calls in "))  # its answer may be on its way
    assert b"interrupted; this is what came so far" in err
    assert b"Traceback" not in err
