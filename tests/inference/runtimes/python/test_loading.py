"""The processes of Python models from load to unload: what cannot be loaded says why, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from time import monotonic

import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.inference.runtimes.python.runtime import Python
from tests.hub import ROOT, write_model
from tests.inference.pod_processes import calling_pod
from tests.inference.runtimes.python.acting_model import (
    ACTOR,
    CONFIG,
    alive,
    ask,
    children,
    loaded,
    pid_of,
    refusal,
    running,
    source,
    until,
)


async def test_an_unload_ends_what_waits_for_recovery(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        await refusal(runtime, "exit 1")
        recovery = runtime.recovery(0)
        assert recovery is not None
        run = asyncio.create_task(refusal(runtime, "count"))
        await asyncio.sleep(0)
        await runtime.unload()
        await asyncio.wait_for(recovery, 30)
        assert (await run).kind is Kind.NOT_READY


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("class Model(:", "model.py cannot be loaded: invalid syntax (model.py, line 1)"),
        (
            "import nowhere_to_be_found",
            "model.py cannot be loaded, line 1: No module named 'nowhere_to_be_found'",
        ),
        ("model = 1", "model.py has no class Model"),
        ("class Model: pass", "model.py cannot be loaded: Model() takes no arguments"),
        (
            "class Model:\n  def __init__(self, *_): open(_[0] / 'weights')",
            "model.py cannot be loaded, line 2: [Errno 2] No such file or directory: 'weights'",
        ),
        (
            "class Model:\n  def __init__(self, *_): pass",
            "model.py has a class Model without a method predict",
        ),
        ("import os; os._exit(5)", "model.py: its process ended (exit status 5) while it loaded"),
        ("import sys; sys.exit(5)", "model.py cannot be loaded, line 1: SystemExit: 5"),
        ("raise KeyError('the weights')", "model.py cannot be loaded, line 1: KeyError: 'the weights'"),
        ("assert False", "model.py cannot be loaded, line 1: AssertionError"),
    ],
)
async def test_what_cannot_be_loaded_says_why(tmp_path: Path, code: str, sentence: str) -> None:
    before = set(children())  # what an earlier test has ended
    with pytest.raises(HubError) as caught:
        await Python(source(tmp_path, code, instances=2)).load()
    assert (caught.value.kind, caught.value.detail) == (Kind.MODEL_FAILED, sentence)
    assert set(children()) <= before


@pytest.mark.parametrize(
    ("code", "first"),
    [
        ("import json\njson.loads('{')", 'File "{file}", line 2, in <module>'),
        ("class Model(:", 'File "{file}", line 1'),
        ("class Model:\n  def __init__(self, *_): {}['weights']", 'File "{file}", line 2, in __init__'),
    ],
)
async def test_a_traceback_begins_at_the_model_s_own_file(
    tmp_path: Path, code: str, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(HubError):
        await Python(source(tmp_path, code)).load()
    (trace,) = [vars(record)["traceback"] for record in caplog.records if hasattr(record, "traceback")]
    file = next(line for line in trace.splitlines() if line.lstrip().startswith("File"))
    assert file.strip() == first.replace("{file}", str(tmp_path / "model.py"))


async def test_a_cancelled_load_leaves_no_process(tmp_path: Path) -> None:
    code = "import os, pathlib, time\npathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))\ntime.sleep(60)"
    load = asyncio.create_task(Python(source(tmp_path, code)).load())
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_a_load_can_be_cancelled_at_any_step(tmp_path: Path) -> None:
    before = set(children())
    for steps in range(6):
        load = asyncio.create_task(Python(source(tmp_path)).load())
        for _ in range(steps):
            await asyncio.sleep(0)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert set(children()) <= before


async def test_unload_lets_the_model_close_and_ends_its_children(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        child = int((await ask(runtime, "child"))[0])
        assert alive(child)
        await runtime.unload()
        assert (tmp_path / "closed").exists()
        await until(lambda: not running(child))


def closed(directory: Path) -> list[str]:
    """The files of instances that were closed."""
    return [name for name in os.listdir(directory) if name.startswith("closed ")]


async def test_a_pod_that_stops_lets_each_instance_close(tmp_path: Path) -> None:
    code = ACTOR.replace(
        "def close(self): ", "def close(self): (self.directory / f'closed {os.getpid()}').touch(); "
    )
    config = f"{CONFIG % 'TYPE_FP32'} instance_group {{ count: 2 }}"
    write_model(tmp_path, "m", config, {"1/model.py": code})
    async with calling_pod(tmp_path):
        assert not closed(tmp_path / "m" / "1")
    assert len(closed(tmp_path / "m" / "1")) == 2


async def test_unload_does_not_wait_for_a_model_that_does_not_end(tmp_path: Path) -> None:
    code = ACTOR.replace("def close(self): ", "def close(self): time.sleep(60); ")
    async with loaded(source(tmp_path, code)) as runtime:
        began = monotonic()
        await runtime.unload()
        assert 2 <= monotonic() - began < 15


async def test_an_interrupt_is_the_service_s_business(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        pid = pid_of(runtime, 0)
        assert os.getpgid(pid) != os.getpgid(0)
        run = asyncio.create_task(ask(runtime, "meet mine theirs"))
        await until((tmp_path / "mine").exists)
        os.kill(pid, signal.SIGINT)
        (tmp_path / "theirs").touch()
        assert await run == [1, 2]


async def test_a_busy_process_dies_with_the_service(tmp_path: Path) -> None:
    source(tmp_path, "import time\nimport sys\nprint('begun', file=sys.stderr)\nwhile True: pass")
    service = """
import asyncio, sys
from pathlib import Path
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.runtime import ModelSource, ProcessRules
from inferencehub.inference.runtimes.python.runtime import Python
directory = Path(sys.argv[1])
config = parse_config(sys.argv[2], "m")
asyncio.run(Python(ModelSource("m", "1", directory, directory / "model.py", config, 1)).load())
"""
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", service, str(tmp_path), CONFIG % "TYPE_FP32"),
        env={**os.environ, "PYTHONPATH": str(ROOT / "services")},
        stderr=asyncio.subprocess.PIPE,
    )
    assert parent.stderr is not None
    assert await asyncio.wait_for(parent.stderr.readline(), 30) == b"begun\n"
    (worker,) = children(parent.pid)
    parent.kill()
    await parent.wait()
    await until(lambda: not running(int(worker)))
