"""What calls of a Python model keep in memory: an answer that is too large is refused, and no answer is kept."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from inferencehub.core.values.errors import Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.inference.runtimes.runtime import ProcessRules
from inferencehub.inference.runtimes.support.arrays import from_array
from tests.hub import write_model
from tests.inference.pod_processes import Request, calling_pod
from tests.inference.runtimes.one_answer import run_once
from tests.inference.runtimes.python.acting_model import (
    ACTOR,
    CONFIG,
    ask,
    asked,
    loaded,
    pid_of,
    refusal,
    source,
    until,
)
from tests.written import request_to_proto

MIB = 2**20


def resident(pid: int) -> int:
    """Bytes of a process that are in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


async def test_an_answer_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, processes=ProcessRules(max_answer_bytes=MIB))) as runtime:
        assert await ask(runtime, "double") == [2, 4]
        pid = pid_of(runtime, 0)
        before = resident(pid)
        tracemalloc.start()
        try:
            error = await refusal(runtime, "gives np.ones(100_000_000, np.float32)")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert error.kind is Kind.MODEL_FAILED
        assert error.detail == "model 'm' gave an answer of 400000000 bytes, more than the limit 1048576"
        assert peak < MIB
        assert len(await ask(runtime, f"gives np.ones({MIB // 4}, np.float32)")) == MIB // 4
        assert pid_of(runtime, 0) == pid
        await until(lambda: resident(pid) < before + 20 * MIB)


async def test_calls_that_run_together_may_each_have_an_answer_of_the_limit(tmp_path: Path) -> None:
    config = """
        backend: "python" max_batch_size: 4
        input { name: "x" data_type: TYPE_FP32 dims: 1 }
        output { name: "y" data_type: TYPE_FP32 dims: 200000 }
    """
    code = """
import numpy as np
class Model:
    def __init__(self, directory, parameters): self.directory = directory
    def predict(self, inputs):
        x = inputs["x"]
        with open(self.directory / "runs", "a") as file: file.write(f"{len(x)} ")
        while x[0, 0] < 0 and not (self.directory / "go").exists(): pass
        return {"y": np.tile(x, 200000)}
"""
    write_model(tmp_path, "m", config, {"1/model.py": code})
    runs = tmp_path / "m/1/runs"

    def request(value: float) -> Request:
        x = from_array("x", "FP32", np.array([[value]], np.float32))
        return request_to_proto(InferRequest("m", "1", (x,)))

    async with calling_pod(tmp_path, max_message_bytes=MIB) as pod:
        first = asyncio.ensure_future(pod.infer(request(-1)))
        await until(lambda: runs.exists() and runs.read_text() == "1 ")
        others = [asyncio.ensure_future(pod.infer(request(value))) for value in (1, 2, 3)]
        await until(lambda: len(pod.server.models.get("m").open_lane().queue) == 3)
        (tmp_path / "m/1/go").touch()
        answers = await asyncio.gather(first, *others)
    for value, answer in zip((-1, 1, 2, 3), answers, strict=True):
        assert answer.raw_output_contents[0] == np.full(200000, value, np.float32).tobytes()
    assert runs.read_text() == "1 3 "


async def test_no_side_keeps_a_call_when_it_is_over(tmp_path: Path) -> None:
    x = np.ones(8 * MIB, np.float32)
    async with loaded(source(tmp_path)) as runtime:
        assert await ask(runtime, "double") == [2, 4]
        pid = pid_of(runtime, 0)
        before = resident(pid)
        tracemalloc.start()
        try:
            (output,) = await run_once(runtime, 0, asked("double", x), monotonic() + 20)
            assert bytes(output.data[-8:]) == np.array([2, 2], np.float32).tobytes()
            del output
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak > 32 * MIB
        assert kept < MIB
        await until(lambda: resident(pid) < before + 20 * MIB)


@pytest.mark.long
async def test_a_pod_refuses_a_huge_answer_by_its_message_limit(tmp_path: Path) -> None:
    write_model(tmp_path, "m", CONFIG % "TYPE_FP32", {"1/model.py": ACTOR})
    async with calling_pod(tmp_path, max_message_bytes=MIB) as pod:
        request = request_to_proto(asked("gives np.ones(200_000_000, np.float32)"))
        assert await asyncio.wait_for(pod.refusal(request), 30) == (
            "INTERNAL",
            "model 'm' gave an answer of 800000000 bytes, more than the limit 1048576",
        )
