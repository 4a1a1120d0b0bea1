"""The process of a model: what the model sees, and that it ends with its service, without a traceback and closed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from inferencehub.core.values.requests import Callers
from inferencehub.inference.runtimes.python.channel import Load, frame
from inferencehub.inference.runtimes.python.process import WORKER
from inferencehub.inference.runtimes.support.arrays import to_array
from tests.hub import ROOT
from tests.inference.runtimes.one_answer import run_once
from tests.inference.runtimes.python.acting_model import asked, loaded, source

WITHOUT_PREDICT = "class Model:\n    def __init__(self, directory, parameters):\n        pass\n"
WITH_CLOSE = (
    WITHOUT_PREDICT
    + """
    def predict(self, inputs):
        return {}

    def close(self):
        print("closed")
"""
)


@pytest.mark.parametrize(
    ("source", "printed"), [(WITHOUT_PREDICT, []), ("no Python", []), (WITH_CLOSE, ["closed"])]
)
def test_a_service_that_is_gone_is_no_traceback(tmp_path: Path, source: str, printed: list[str]) -> None:
    (tmp_path / "model.py").write_text(source)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for buffer in frame(Load("m", "1", 20, str(tmp_path), "model.py", {}, (), 0, False, 1000)):
            ours.sendall(buffer)
        ours.close()  # the worker reads what was sent, and cannot answer
        command = [sys.executable, "-m", WORKER, str(theirs.fileno()), str(os.getpid())]
        worker = subprocess.run(
            command, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT / "services")},
        )  # fmt: skip
    assert (worker.returncode, worker.stdout) == (0, "")
    assert [
        json.loads(line.removeprefix("\x1e"))["event"] for line in worker.stderr.split("\n")[:-1]
    ] == printed


async def test_a_model_may_annotate_its_context(tmp_path: Path) -> None:
    code = """
from inferencehub.model.context import Context

class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs, context: Context):
        return {"y": [context.remaining, context.cancelled, isinstance(context, Context), context.id == "a"]}
"""
    async with loaded(source(tmp_path, code)) as runtime:
        request = asked("").with_callers(Callers("a"))
        (output,) = await run_once(runtime, 0, request, monotonic() + 60)
        remaining, *others = to_array(output).tolist()
        assert 30 < remaining <= 60
        assert others == [0, 1, 1]
