"""`inferencehub check` as a command: what it prints, and the exit code that CI reads."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from tests.cli.test_command import ENVIRON, say_here
from tests.hub import ROOT, eventually, mock_model, write_model
from tests.inference.runtimes.tables import CLASSES, ROWS, version
from tests.processes import children, command

PYTHON = """backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }
"""
SLOW = """
import os, subprocess, time
class Model:
    def __init__(self, directory, parameters):
        subprocess.Popen(["sleep", "120"])
        time.sleep(120)
"""


def test_exit_codes_and_both_forms(tmp_path: Path) -> None:
    mock_model(tmp_path, "sound")
    code, out, err = say_here("check", str(tmp_path / "sound"))
    assert (code, err) == (0, "")
    assert out.startswith("OK     sound version 1, mock\n       inputs    features FP32 [-1]\n")
    write_model(tmp_path, "broken", "max_batch_sise: 3")
    code, out, err = say_here("check", str(tmp_path), "--json")
    found = {model["name"]: model for model in json.loads(out)["models"]}
    assert code == 1
    assert (found["sound"]["ok"], found["broken"]["ok"]) == (True, False)
    assert "max_batch_sise" in found["broken"]["fault"]
    assert err == ""


def test_a_pickle_loads_where_the_setting_allows_it(tmp_path: Path) -> None:
    (version(tmp_path) / "model.pkl").write_bytes(pickle.dumps(LogisticRegression().fit(ROWS, CLASSES)))
    code, out, _ = say_here("check", str(tmp_path))
    assert code == 1
    assert "or HUB_ALLOW_PICKLE=true" in out
    code, out, err = say_here("check", str(tmp_path), HUB_ALLOW_PICKLE="true")
    assert (code, err) == (0, ""), out


def test_what_cannot_be_checked_is_one_sentence(tmp_path: Path) -> None:
    code, out, err = say_here("check", str(tmp_path / "not-there"))
    assert (code, out) == (2, "")
    assert "does not exist" in err
    code, out, err = say_here("check", str(tmp_path), HUB_MODEL_GRACE_S="soon")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "HUB_MODEL_GRACE_S" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("asked", "code"), [("check", 2), pytest.param("values", None, marks=pytest.mark.long)]
)
async def test_a_signal_ends_it_and_all_that_its_models_started(
    tmp_path: Path, asked: str, code: int | None, number: signal.Signals
) -> None:
    process, begun = await loading(tmp_path, asked)
    process.send_signal(number)
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    assert err == b"inferencehub: stopped before all models were checked\n"
    assert process.returncode == (-number if code is None else code)
    await eventually(lambda: not any(command(pid) for pid in begun))


@pytest.mark.long
async def test_a_kill_ends_the_processes_of_its_models_too(tmp_path: Path) -> None:
    process, [checking, worker, started] = await loading(tmp_path, "check")
    try:
        process.kill()
        await process.wait()
        await eventually(lambda: not command(checking) and not command(worker))
    finally:
        os.kill(started, signal.SIGKILL)  # no signal of the kernel reaches what a model has started


async def loading(repository: Path, asked: str) -> tuple[asyncio.subprocess.Process, list[int]]:
    """A command whose model is in the middle of its load, and all processes that it has begun."""
    write_model(repository, "slow", PYTHON, {"1/model.py": SLOW})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inferencehub", asked, str(repository / "slow"), stderr=asyncio.subprocess.PIPE,
        env={**ENVIRON, "PYTHONPATH": str(ROOT / "services")},
    )  # fmt: skip
    await eventually(lambda: any(command(pid).startswith("sleep") for pid in below(process.pid)))
    return process, list(below(process.pid))


def below(pid: int) -> Iterator[int]:
    """A process and all that it has started, itself or through others."""
    yield pid
    for child in children(pid):
        yield from below(child)
