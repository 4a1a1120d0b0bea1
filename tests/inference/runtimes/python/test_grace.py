"""Runs of Python models that outlive their callers: they may end, and only one that hangs costs its process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic, sleep

import pytest

from inferencehub.core.values.errors import Kind
from inferencehub.inference.runtimes.python.grace import FADES, LEAST_S, Grace, Timer
from inferencehub.inference.runtimes.runtime import ProcessRules
from tests.hub import write_model
from tests.inference.pod_processes import Request, calling_pod
from tests.inference.runtimes.python.acting_model import (
    ACTOR,
    CONFIG,
    ask,
    asked,
    back,
    loaded,
    pid_of,
    refusal,
    source,
    until,
)
from tests.written import request_to_proto

pytestmark = pytest.mark.long


def test_a_grace_is_as_long_as_a_start_and_as_recent_runs() -> None:
    grace = Grace(30.0)
    assert grace.seconds == LEAST_S
    grace.started(5.0)
    grace.ran(0.01)
    assert grace.seconds == 5.0
    grace.ran(20.0)
    assert grace.seconds == 20.0
    grace.ran(0.01)
    assert grace.seconds == 20.0 * FADES
    for _ in range(100):
        grace.ran(0.01)
    assert grace.seconds == 5.0
    grace.ran(100.0)
    assert grace.seconds == 30.0
    assert Grace(0.0).seconds == 0.0


async def test_a_run_that_outlives_its_deadline_ends_in_its_own_time(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        pid = pid_of(runtime, 0)
        for count in (1, 2, 3):
            error = await refusal(runtime, "nap 0.3", seconds=0.05)
            assert error.kind is Kind.DEADLINE
            assert error.detail == "model 'm': its run did not end by the request's deadline"
            assert await ask(runtime, "count") == [2 * count]
        assert pid_of(runtime, 0) == pid
        assert runtime.recovery(0) is None


async def test_a_run_does_not_hang_because_the_service_was_held_up(tmp_path: Path) -> None:
    """It ends in its grace, but the event loop reads that later."""
    async with loaded(source(tmp_path)) as runtime:
        pid = pid_of(runtime, 0)
        late = asyncio.create_task(refusal(runtime, "nap 1", seconds=0.1))
        await until((tmp_path / "begun").exists)
        sleep(LEAST_S + 1.5)  # noqa: ASYNC251  # this is what holds it up
        assert (await late).kind is Kind.DEADLINE
        assert pid_of(runtime, 0) == pid
        assert await ask(runtime, "count") == [2]


async def test_a_service_that_is_held_up_again_and_again_ends_what_hangs() -> None:
    over = asyncio.Event()
    Timer(asyncio.get_running_loop(), monotonic() + 0.3, over.set)
    times = 0
    while not over.is_set():
        times += 1
        assert times < 30
        sleep(0.6)  # noqa: ASYNC251  # the timer is 0.3 s late again, or later
        await asyncio.sleep(0)


async def test_a_run_that_hangs_is_ended_after_its_grace(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, processes=ProcessRules(grace_s=0.1))) as runtime:
        pid = pid_of(runtime, 0)
        error = await refusal(runtime, "hold", seconds=0.05)
        assert error.kind is Kind.DEADLINE
        await back(runtime)
        assert await ask(runtime, "count") == [1]
        assert pid_of(runtime, 0) != pid


@pytest.mark.parametrize("leave", ["deadline", "cancel"])
async def test_callers_of_a_pod_that_give_up_early_cost_no_process(tmp_path: Path, leave: str) -> None:
    write_model(tmp_path / "models", "m", CONFIG % "TYPE_FP32", {"1/model.py": ACTOR})

    def request(do: str) -> Request:
        return request_to_proto(asked(do))

    async with calling_pod(tmp_path / "models") as pod:
        (before,) = (await pod.infer(request("pid"))).raw_output_contents
        for _ in range(3):
            begun = tmp_path / "models/m/1/begun"
            begun.unlink(missing_ok=True)
            if leave == "deadline":
                code, _ = await pod.refusal(request("nap 0.4"), timeout=0.2)
                assert code == "DEADLINE_EXCEEDED"
            else:
                call = pod.infer(request("nap 0.4"))
                await until(begun.exists)
                call.cancel()
            (after,) = (await pod.infer(request("pid"))).raw_output_contents
            assert after == before


CONTEXT = """
import time
class Model:
    def __init__(self, directory, parameters): self.directory = directory
    def predict(self, inputs, context):
        if inputs["do"][0] == b"wait":
            (self.directory / "begun").touch()
            while not context.cancelled: time.sleep(0.001)
            (self.directory / "seen").touch()
        left = context.deadline - time.monotonic()
        return {"y": [repr((context.id, 0 < left <= 20, context.cancelled, dict(context.parameters)))]}
"""


async def test_a_model_sees_who_calls_and_until_when(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "m", CONFIG % "TYPE_STRING", {"1/model.py": CONTEXT})
    async with calling_pod(tmp_path / "models", default_timeout_ms=20_000) as pod:
        request = request_to_proto(asked("tell"))
        request.id = "first"
        request.parameters["gain"].int64_param = 3
        (answer,) = (await pod.infer(request)).raw_output_contents
        assert answer[4:].decode() == repr(("first", True, False, {"gain": 3}))
        merged = request_to_proto(asked("tell"), members='[[1, 5000000, "by-a-gateway"]]')
        (answer,) = (await pod.infer(merged)).raw_output_contents
        assert answer[4:].decode() == repr(("by-a-gateway", True, False, {}))


async def test_a_model_sees_that_nobody_waits_any_more(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, CONTEXT, CONFIG % "TYPE_STRING")) as runtime:
        pid = pid_of(runtime, 0)
        call = asyncio.create_task(refusal(runtime, "wait"))
        await until((tmp_path / "begun").exists)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (tmp_path / "seen").exists()
        (tmp_path / "seen").unlink()
        assert (await refusal(runtime, "wait", seconds=0.1)).kind is Kind.DEADLINE
        assert (tmp_path / "seen").exists()
        assert pid_of(runtime, 0) == pid
        assert runtime.recovery(0) is None
