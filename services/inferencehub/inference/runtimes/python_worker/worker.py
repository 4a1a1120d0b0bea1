"""The process of one instance of a Python model: it loads `model.py`, then answers one call after the other.

`python/process.py` starts it as `python -m …runtimes.python_worker.worker FD,… PARENT`. Frames are sent over the inherited file
descriptor FD, or over several if several calls may be in flight (in_flight.py); what the model logs and prints goes to standard error (lines.py). The process ends when the service closes
its end of the socket or dies.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import AsyncGenerator, Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from inferencehub.core.lane.sink import weight_of
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import NO_CALLERS, size_of
from inferencehub.core.values.tensors import Buffer
from inferencehub.inference.runtimes.python.channel import (
    Call,
    Done,
    Load,
    ModelFailed,
    answer_frame,
    frame,
)
from inferencehub.inference.runtimes.python_worker.in_flight import on_a_loop, serve
from inferencehub.inference.runtimes.python_worker.lines import Lines
from inferencehub.inference.runtimes.python_worker.loaded import Loaded, traced
from inferencehub.inference.runtimes.python_worker.outputs import WrongOutputError
from inferencehub.inference.runtimes.python_worker.pipe import Pipe, PipeCalls, send_measures
from inferencehub.inference.runtimes.support.error_text import named
from inferencehub.model.context import Context

PR_SET_PDEATHSIG = 1


def answer(loaded: Loaded, call: Call, body: memoryview, channel: Pipe) -> list[Buffer]:
    """The frame that ends a call: its answer, or an error. Several answers are sent before, as they are made."""
    tell = partial(channel.tell, channel.number) if call.watched else None
    calls = PipeCalls(channel, loaded.load.max_answer_bytes)
    context = loaded.context(call, partial(channel.stopped, channel.number), calls, tell)
    arguments, rows = loaded.arguments(call, body, context)
    try:
        given = loaded.model.predict(*arguments)
        several = iterator_of(given)
        if several is None:
            return answer_frame(loaded.outputs(given, rows, call.callers.calls))
        with closing(several):
            send(loaded, several, rows, context, channel)
        return frame(Done())
    except BaseException as error:
        return loaded.failed(error)


def send(
    loaded: Loaded, several: Generator[Any, None, None], rows: int, context: Context, channel: Pipe
) -> None:
    """Send several answers, until nobody wants more."""
    loaded.must_be_decoupled()
    for given in several:
        outputs = loaded.outputs(given, rows, 1)
        if not channel.send(answer_frame(outputs, more=True)):
            return
        if not channel.give(weight_of(size_of(tuple(outputs)))) or context.cancelled:
            return


def iterator_of(given: Any) -> Generator[Any, None, None] | None:
    """The answers of a `predict` that gives several; None if what it gave is one answer."""
    if isinstance(given, Generator):
        return given
    return stepped(given) if isinstance(given, AsyncGenerator) else None


def stepped(given: AsyncGenerator[Any, None]) -> Generator[Any, None, None]:
    """An asynchronous generator, run step by step on an event loop of its own."""

    async def step() -> Any:
        return await anext(given)

    with asyncio.Runner() as runner:
        try:
            while True:
                yield runner.run(step())
        except StopAsyncIteration:
            return
        finally:
            runner.run(given.aclose())


def why(load: Load, error: BaseException) -> str:
    """Why a file did not load: the line of the file that was running, if any, and the exception's message."""
    frames = traceback.extract_tb(error.__traceback__)
    file = str(Path(load.directory) / load.file)
    line = next((f", line {frame.lineno}" for frame in reversed(frames) if frame.filename == file), "")
    return noted(f"{load.file} cannot be loaded{line}: {named(error)}", error)


def noted(sentence: str, error: BaseException) -> str:
    """A sentence with the notes of an exception behind it, which a reader has added."""
    return "; ".join([sentence, *getattr(error, "__notes__", ())])


def die_with(parent: int) -> None:
    """Make the kernel kill this process when the service dies, even while the model runs (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def main(fds: list[int], parent: int) -> None:
    """Load the model, then answer calls until the service closes its end of the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent)
    channel, *more = map(Pipe, fds)
    first = channel.receive()
    if first is None:
        return
    load = first[0]
    assert isinstance(load, Load)
    lines = Lines()
    lines.install(load.log_level)
    # A user's model writes no files into the repository. A reader imports nothing from there, but large libraries, which
    # take ten times as long where they are compiled anew.
    sys.dont_write_bytecode = not load.reader
    sys.argv = [load.file]  # a model's own libraries may read it
    try:
        loaded = Loaded(load)
    except WrongOutputError as error:
        channel.send(frame(ModelFailed(f"{load.file} {error}")))
        return
    except HubError as error:
        channel.send(frame(ModelFailed(noted(error.detail, error))))
        return
    except BaseException as error:
        channel.send(frame(ModelFailed(why(load, error), traced(error))))
        return
    channel.send(frame(loaded.ready))
    if on_a_loop(loaded):
        asyncio.run(serve(loaded, [channel, *more]))
        return
    send_measures(lambda measured: channel.send(frame(measured)))
    while answered(loaded, channel, lines):
        pass
    with loaded.closing():
        loaded.close()


def answered(loaded: Loaded, channel: Pipe, lines: Lines) -> bool:
    """Answer the next call; False if there is none, or nobody for its answer. Between two calls, nothing of a call is in memory."""
    got = channel.call()
    if got is None:
        return False
    lines.callers = got[0].callers
    last = answer(loaded, *got, channel)
    lines.callers = NO_CALLERS
    channel.over()  # before the service has it, and may send the next call
    return channel.send(last)


if __name__ == "__main__":
    main(list(map(int, sys.argv[1].split(","))), int(sys.argv[2]))
