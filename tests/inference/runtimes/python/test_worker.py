"""The process of a model whose service ends while it works: it ends too, without a traceback, and the model is closed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from inferencehub.inference.runtimes.python.channel import Load, frame
from inferencehub.inference.runtimes.python.process import WORKER
from tests.hub import ROOT

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
    ("source", "printed"), [(WITHOUT_PREDICT, ""), ("no Python", ""), (WITH_CLOSE, "closed\n")]
)
def test_a_service_that_is_gone_is_no_traceback(tmp_path: Path, source: str, printed: str) -> None:
    (tmp_path / "model.py").write_text(source)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for buffer in frame(Load("m", str(tmp_path), "model.py", {}, (), 0, False, 1000)):
            ours.sendall(buffer)
        ours.close()  # the worker reads what was sent, and cannot answer
        command = [sys.executable, "-m", WORKER, str(theirs.fileno()), str(os.getpid())]
        worker = subprocess.run(
            command, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT / "services")},
        )  # fmt: skip
    assert (worker.returncode, worker.stdout, worker.stderr) == (0, printed, "")
