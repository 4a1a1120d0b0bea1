"""A Python model that does what its input says, and what tests need to run it in real processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import numpy as np
import numpy.typing as npt
import pytest

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor, pack_bytes
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.python.runtime import Python
from inferencehub.inference.runtimes.runtime import ModelSource, ProcessRules
from inferencehub.inference.runtimes.support.arrays import from_array, to_array
from tests.inference.runtimes.one_answer import run_once

DEFAULT_RULES = ProcessRules()
# Does what its second input says; every test picks from these.
ACTOR = """
import collections, ctypes, decimal, json, os, re, signal, socket, subprocess, sys, time
from pathlib import Path
import numpy as np

TEXT = np.dtypes.StringDType

class GivesArray:
    def __init__(self, array): self.array = array
    def __array__(self, dtype=None, copy=None):
        if self.array is None: raise RuntimeError("it needs a gradient")
        return self.array

class Model:
    def __init__(self, directory, parameters):
        self.directory, self.parameters, self.calls = directory, parameters, 0
        refusal = directory / "refuse"
        if refusal.exists():
            refusal.unlink()
            raise RuntimeError("not yet")

    def predict(self, inputs):
        x, (word, _, text) = inputs["x"], inputs["do"].ravel()[0].decode().partition(" ")
        self.calls += 1
        return {"y": getattr(self, word)(x, text)}

    def double(self, x, text): return x * 2
    def pid(self, x, text): return np.array([os.getpid()])
    def count(self, x, text): return [self.calls]
    def parameter(self, x, text): return [float(self.parameters[text])]
    def aligned(self, x, text): return [int(x.flags.aligned)]
    def exit(self, x, text): os._exit(int(text))
    def sys_exit(self, x, text): sys.exit(3)
    def raises(self, x, text): raise {"refusal": ValueError, "failure": OSError}[text](f"{text} at {__file__}\\nmore")
    def begun(self): (self.directory / "begun").write_text(str(os.getpid()))
    def nap(self, x, text):
        self.begun()
        time.sleep(float(text))
        return x
    def loop(self, x, text):
        self.begun()
        while True: pass
    def hold(self, x, text):
        self.begun()
        re.match("(a+)+$", "a" * 60 + "b")
    def meet(self, x, text):
        mine, other = (self.directory / name for name in text.split())
        mine.touch()
        while not other.exists(): time.sleep(0.001)
        return x
    def prints(self, x, text):
        print("noise" * 10000)
        os.write(1, b"noise" * 1000)
        subprocess.run(["echo", "noise"])
        return x
    def child(self, x, text):
        return [subprocess.Popen(["sleep", "60"]).pid]
    def forked(self, x, text):
        pid = os.fork()
        if not pid: time.sleep(60)
        return [pid]
    def meddles(self, x, text):
        for fd in os.listdir("/proc/self/fd"):
            try: socket.socket(fileno=os.dup(int(fd))).sendall(eval(text))
            except OSError: pass
        time.sleep(60)
    def gives(self, x, text): return eval(text)
    def close(self): (self.directory / "closed").touch()
"""
CONFIG = """
backend: "python"
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }, { name: "do" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "y" data_type: %s dims: [ -1 ] } ]
parameters { key: "gain" value: { string_value: "3" } }
"""


def source(
    directory: Path,
    code: str = ACTOR,
    config: str = CONFIG % "TYPE_FP32",
    instances: int = 1,
    processes: ProcessRules = DEFAULT_RULES,
) -> ModelSource:
    file = directory / "model.py"
    file.write_text(code)
    return ModelSource("m", "1", directory, file, parse_config(config, "m"), instances, processes)


@asynccontextmanager
async def loaded(
    made: ModelSource, on_change: Callable[[int], None] = lambda number: None
) -> AsyncIterator[Python]:
    runtime = Python(made)
    runtime.on_change = on_change
    await runtime.load()
    pids = [pid_of(runtime, number) for number in range(made.instances)]
    try:
        yield runtime
    finally:
        pids += [each.process.pid for each in runtime.instances if each.process]
        await runtime.unload()
        assert not [pid for pid in pids if alive(pid)]


def pid_of(runtime: Python, number: int) -> int:
    process = runtime.instances[number].process
    assert process is not None
    return process.pid


def alive(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def children(parent: int = os.getpid()) -> list[str]:
    """A process's child processes, our own if none is given, the dead that nobody waited for included."""
    return Path(f"/proc/{parent}/task/{parent}/children").read_text().split()


async def until(fact: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for what another process does and no event tells of."""
    end = monotonic() + seconds
    while not fact():
        assert monotonic() < end
        await asyncio.sleep(0.005)


def asked(do: str, x: npt.ArrayLike = (1, 2)) -> InferRequest:
    array = np.array(x, dtype=np.float32)
    inputs = (from_array("x", "FP32", array), Tensor("do", "BYTES", (1,), pack_bytes([do.encode()])))
    return InferRequest("m", "1", inputs)


async def ask(
    runtime: Python, do: str, x: npt.ArrayLike = (1, 2), number: int = 0, seconds: float = 20
) -> list[float]:
    deadline = monotonic() + seconds
    (output,) = await run_once(runtime, number, asked(do, x), deadline)
    values: list[float] = to_array(output).tolist()
    return values


async def refusal(runtime: Python, do: str, number: int = 0, seconds: float = 20) -> HubError:
    with pytest.raises(HubError) as caught:
        await ask(runtime, do, number=number, seconds=seconds)
    return caught.value


async def back(runtime: Python, number: int = 0) -> None:
    """Wait until a broken instance can run again."""
    recovery = runtime.recovery(number)
    assert recovery is not None
    await asyncio.wait_for(recovery, 30)
    assert runtime.recovery(number) is None


def running(pid: int) -> bool:
    """Whether a process that is not our child runs; one that nobody has waited for yet does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
