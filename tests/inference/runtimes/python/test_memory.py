"""What calls of a Python model keep in memory: an answer that is too large is refused, and no answer is kept."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path
from time import monotonic

import numpy as np

from inferencehub.core.values.errors import Kind
from inferencehub.inference.runtimes.runtime import ProcessRules
from tests.hub import write_model
from tests.inference.pod_processes import calling_pod
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


async def test_a_pod_refuses_a_huge_answer_by_its_message_limit(tmp_path: Path) -> None:
    write_model(tmp_path, "m", CONFIG % "TYPE_FP32", {"1/model.py": ACTOR})
    async with calling_pod(tmp_path, max_message_bytes=MIB) as pod:
        request = request_to_proto(asked("gives np.ones(200_000_000, np.float32)"))
        assert await asyncio.wait_for(pod.refusal(request), 30) == (
            "INTERNAL",
            "model 'm' gave an answer of 800000000 bytes, more than the limit 1048576",
        )
