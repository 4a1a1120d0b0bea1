"""Python models that crash, are killed or hang: which calls fail, and that the instance comes back."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest

from inferencehub.core.values.errors import Kind
from inferencehub.inference.runtimes.runtime import ProcessRules
from tests.inference.runtimes.python.acting_model import (
    alive,
    ask,
    back,
    loaded,
    pid_of,
    refusal,
    running,
    source,
    until,
)


async def test_a_crash_costs_its_own_call_and_the_instance_comes_back(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, instances=2)) as runtime:
        other, first = pid_of(runtime, 1), pid_of(runtime, 0)
        error = await refusal(runtime, "exit 7")
        assert error.kind is Kind.MODEL_FAILED
        assert error.detail == "model 'm': its process ended (exit status 7) while it ran"
        assert runtime.recovery(1) is None
        await back(runtime)
        assert await ask(runtime, "double") == [2, 4]
        assert pid_of(runtime, 0) != first
        assert pid_of(runtime, 1) == other


async def test_an_instance_that_crashed_is_back_soon(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        await refusal(runtime, "exit 7")
        await back(runtime)


async def test_a_kill_while_it_runs_is_told_at_once(tmp_path: Path) -> None:
    changed: list[int] = []
    async with loaded(source(tmp_path), changed.append) as runtime:
        run = asyncio.create_task(refusal(runtime, "nap 60"))
        await until((tmp_path / "begun").exists)
        os.kill(pid_of(runtime, 0), signal.SIGKILL)
        error = await asyncio.wait_for(run, 30)
        assert error.detail == "model 'm': its process ended (signal 9) while it ran"
        await back(runtime)
        assert await ask(runtime, "count") == [1]
        assert changed == []


async def test_a_call_whose_process_was_told_a_level_is_not_run_again(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        run = asyncio.create_task(refusal(runtime, "nap 60"))
        await until((tmp_path / "begun").exists)
        runtime.log_at(logging.DEBUG)  # it reads that after the call
        os.kill(pid_of(runtime, 0), signal.SIGKILL)
        error = await asyncio.wait_for(run, 30)
        assert error.detail == "model 'm': its process ended (signal 9) while it ran"


async def test_a_kill_while_idle_is_noticed_and_repaired(tmp_path: Path) -> None:
    changed: asyncio.Queue[int] = asyncio.Queue()
    async with loaded(source(tmp_path, instances=2), changed.put_nowait) as runtime:
        os.kill(pid_of(runtime, 1), signal.SIGKILL)
        assert await asyncio.wait_for(changed.get(), 30) == 1
        await back(runtime, 1)
        assert await ask(runtime, "double", number=1) == [2, 4]


async def test_a_call_that_meets_a_dead_process_waits_for_the_next(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        for _ in range(3):
            # No pass of the loop between kill and run: nobody has noticed yet.
            os.kill(pid_of(runtime, 0), signal.SIGKILL)
            assert await ask(runtime, "count") == [1]
        os.kill(pid_of(runtime, 0), signal.SIGKILL)
        error = await refusal(runtime, "count", seconds=0.02)
        assert error.kind is Kind.DEADLINE
        await back(runtime)


@pytest.mark.parametrize("hang", ["nap 60", "loop", "hold"])
async def test_without_a_grace_a_hang_ends_at_the_deadline(tmp_path: Path, hang: str) -> None:
    async with loaded(source(tmp_path, processes=ProcessRules(grace_s=0))) as runtime:
        pid, began = pid_of(runtime, 0), monotonic()
        error = await refusal(runtime, hang, seconds=0.3)
        assert 0.3 <= monotonic() - began < 15
        assert error.kind is Kind.DEADLINE
        assert error.detail == "model 'm': its run did not end by the request's deadline"
        assert (tmp_path / "begun").read_text() == str(pid)
        assert not alive(pid)
        await back(runtime)
        assert await ask(runtime, "double") == [2, 4]


async def test_a_cancelled_call_ends_with_its_work(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        run = asyncio.create_task(ask(runtime, "meet mine theirs"))
        await until((tmp_path / "mine").exists)
        run.cancel()
        await asyncio.sleep(0)
        run.cancel()
        done, _ = await asyncio.wait({run}, timeout=0.1)
        assert not done
        (tmp_path / "theirs").touch()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert await ask(runtime, "count") == [2]
        assert runtime.recovery(0) is None


async def test_a_cancelled_call_that_hangs_ends_at_the_deadline(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, processes=ProcessRules(grace_s=0))) as runtime:
        run = asyncio.create_task(ask(runtime, "loop", seconds=0.3))
        await until((tmp_path / "begun").exists)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(run), 30)
        await back(runtime)


@pytest.mark.parametrize(
    "noise",
    [
        "b'x' * 64",
        "b'\\1' + bytes(15) + b'x' * 8",
        "b'\\1' + bytes(15) + b'x' * 50",
        "b'\\1' + bytes(12) + b'\\4\\0\\0' + b'x' * 50",  # 16 GiB
    ],
)
async def test_a_model_that_writes_into_the_channel_is_ended(tmp_path: Path, noise: str) -> None:
    async with loaded(source(tmp_path)) as runtime:
        error = await asyncio.wait_for(refusal(runtime, f"meddles {noise}"), 30)
        assert error.detail == "model 'm': its process ended (signal 9) while it ran"
        await back(runtime)
        assert await ask(runtime, "double") == [2, 4]


async def test_loading_is_tried_again_until_it_works(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        (tmp_path / "refuse").touch()
        await refusal(runtime, "exit 1")
        await back(runtime)
        assert not (tmp_path / "refuse").exists()
        assert await ask(runtime, "count") == [1]


async def test_a_forked_child_does_not_hide_a_death(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        child = int((await ask(runtime, "forked"))[0])
        error = await asyncio.wait_for(refusal(runtime, "exit 1"), 30)
        assert error.kind is Kind.MODEL_FAILED
        await until(lambda: not running(child))
        await back(runtime)


@contextmanager
def few_files(left: int) -> Iterator[None]:
    """This process may open only so many files more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        while left:
            os.close(held.pop())
            left -= 1
        yield
    finally:
        for file in held:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("left", [0, 1, 2])
async def test_a_process_for_which_there_are_no_files_left_keeps_none_open(
    tmp_path: Path, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with loaded(source(tmp_path)) as runtime:
        before = len(os.listdir("/proc/self/fd"))
        with few_files(left):  # and those of the process that ends: a pipe, a socket, and who tells its end
            os.kill(pid_of(runtime, 0), signal.SIGKILL)
            await until(lambda: caplog.text.count("did not come back") >= 3)
        await back(runtime)
        assert await ask(runtime, "double") == [2, 4]
        assert len(os.listdir("/proc/self/fd")) == before
        details = [record.__dict__.get("detail", "") for record in caplog.records]
        assert any("Too many open files" in one for one in details)
