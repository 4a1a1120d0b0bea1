"""The process of one instance of a Python model: it loads `model.py`, then answers one call after the other.

`python/process.py` starts it as `python -m …runtimes.python_worker.worker FD PARENT`. Frames are sent over the inherited file
descriptor FD; what the model logs and prints goes to standard error (lines.py). The process ends when the service closes
its end of the socket or dies.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib.util
import inspect
import logging
import os
import signal
import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from inferencehub.core.lane.sink import weight_of
from inferencehub.core.values.requests import NO_CALLERS, size_of
from inferencehub.core.values.tensors import Buffer, Tensor
from inferencehub.inference.runtimes.python.channel import (
    Call,
    Done,
    Load,
    ModelFailed,
    Ready,
    answer_frame,
    frame,
)
from inferencehub.inference.runtimes.python_worker.lines import Lines
from inferencehub.inference.runtimes.python_worker.outputs import WrongOutputError, checked
from inferencehub.inference.runtimes.python_worker.pipe import Pipe
from inferencehub.inference.runtimes.runtime import failed_run
from inferencehub.inference.runtimes.support.arrays import to_array
from inferencehub.inference.runtimes.support.error_text import first_line
from inferencehub.model.context import Context

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
DECOUPLED = "its config has no model_transaction_policy { decoupled: true }"
TRACE_LIMIT = 16_000
BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Loaded:
    """The user's model: imports its file and creates its `Model`.

    Raises:
        WrongOutputError: if the file has no class `Model` with a method `predict`.
        Exception: whatever the user's file raises.
    """

    def __init__(self, load: Load) -> None:
        self.load = load
        directory = Path(load.directory)
        sys.path.insert(0, load.directory)  # the model may import files beside it
        spec = importlib.util.spec_from_file_location("model", directory / load.file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["model"] = module  # pickle looks classes up here
        spec.loader.exec_module(module)
        if not hasattr(module, "Model"):
            raise WrongOutputError("has no class Model")
        self.model = module.Model(directory, load.parameters)
        if not callable(getattr(self.model, "predict", None)):
            raise WrongOutputError("has a class Model without a method predict")
        self.second = second_argument(self.model.predict)

    def answer(self, call: Call, body: memoryview, channel: Pipe) -> list[Buffer]:
        """The frame that ends a call: its answer, or an error. Several answers are sent before, as they are made."""
        stopped = partial(channel.stopped, channel.number)
        tell = partial(channel.tell, channel.number) if call.watched else None
        callers = call.callers
        about = (callers.id, callers.traceparent, callers.tracestate)
        context = Context(*about, call.deadline, call.parameters, stopped, tell)
        more: tuple[Any, ...] = ()
        if self.second:
            more = (context,) if self.second == "context" else (call.parameters,)
        inputs = {tensor.name: to_array(tensor) for tensor in call.over(body)}
        rows = 0
        if self.load.max_batch_size:
            rows = next(iter(inputs.values())).shape[0] if inputs else 1
        try:
            given = self.model.predict(inputs, *more)
            several = iterator_of(given)
            if several is None:
                return answer_frame(self._outputs(given, rows, call.callers.calls))
            with closing(several):
                self._send(several, rows, context, channel)
            return frame(Done())
        except ValueError as error:
            sentence = first_line(error) or "it does not take this input"
            return frame(ModelFailed(f"model '{self.load.model}': {sentence}", traced(error), refused=True))
        except WrongOutputError as error:
            return frame(ModelFailed(f"model '{self.load.model}' gave {first_line(error)}"))
        except BaseException as error:
            return frame(ModelFailed(failed_run(self.load.model).detail, traced(error)))

    def _send(self, several: Generator[Any, None, None], rows: int, context: Context, channel: Pipe) -> None:
        """Send several answers, until nobody wants more."""
        if not self.load.decoupled:
            raise WrongOutputError(f"several answers, and {DECOUPLED}")
        for given in several:
            outputs = self._outputs(given, rows, 1)
            if not channel.send(answer_frame(outputs, more=True)):
                return
            if not channel.give(weight_of(size_of(tuple(outputs)))) or context.cancelled:
                return

    def _outputs(self, given: Any, rows: int, calls: int) -> list[Tensor]:
        """One answer to so many calls, checked. A ValueError here is not a refusal by the model, so it becomes a RuntimeError."""
        try:
            outputs = checked(given, self.load.outputs, rows)
        except ValueError as error:
            raise RuntimeError("the outputs cannot be read") from error
        size, limit = size_of(tuple(outputs)), self.load.max_answer_bytes * calls
        if size > limit:
            raise WrongOutputError(f"an answer of {size} bytes, more than the limit {limit}")
        return outputs

    def close(self) -> None:
        """Call the model's `close`, if it has one. What it raises is a line in the log."""
        try:
            if hasattr(self.model, "close"):
                self.model.close()
        except Exception:
            logger.exception("close failed")


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


def second_argument(predict: Callable[..., Any]) -> str:
    """The name of the second positional argument of a bound method; "" if it has none."""
    arguments = inspect.signature(predict).parameters.values()
    return ([argument.name for argument in arguments if argument.kind in BY_POSITION] + ["", ""])[1]


def why(load: Load, error: BaseException) -> str:
    """Why a file did not load: the line of the file that was running, if any, and the exception's message."""
    frames = traceback.extract_tb(error.__traceback__)
    file = str(Path(load.directory) / load.file)
    line = next((f", line {frame.lineno}" for frame in reversed(frames) if frame.filename == file), "")
    return f"{load.file} cannot be loaded{line}: {first_line(error) or 'its log says why'}"


def traced(error: BaseException) -> str:
    """The traceback of an exception in the user's code, without our own frame; at most `TRACE_LIMIT` characters."""
    inner = error.__traceback__ and error.__traceback__.tb_next
    return "".join(traceback.format_exception(type(error), error, inner))[-TRACE_LIMIT:]


def die_with(parent: int) -> None:
    """Make the kernel kill this process when the service dies, even while the model runs (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def main(fd: int, parent: int) -> None:
    """Load the model, then answer calls until the service closes its end of the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent)
    sys.dont_write_bytecode = True  # write no files into the model repository
    channel = Pipe(fd)
    first = channel.receive()
    if first is None:
        return
    load = first[0]
    assert isinstance(load, Load)
    lines = Lines()
    lines.install(load.log_level)
    sys.argv = [load.file]  # a model's own libraries may read it
    Thread(target=channel.tell_measures, name="measures", daemon=True).start()
    try:
        loaded = Loaded(load)
    except WrongOutputError as error:
        channel.send(frame(ModelFailed(f"{load.file} {error}")))
        return
    except BaseException as error:
        channel.send(frame(ModelFailed(why(load, error), traced(error))))
        return
    channel.send(frame(Ready()))
    while answered(loaded, channel, lines):
        pass
    loaded.close()


def answered(loaded: Loaded, channel: Pipe, lines: Lines) -> bool:
    """Answer the next call; False if there is none, or nobody for its answer. Between two calls, nothing of a call is in memory."""
    got = channel.call()
    if got is None:
        return False
    lines.callers = got[0].callers
    last = loaded.answer(*got, channel)
    lines.callers = NO_CALLERS
    channel.over()  # before the service has it, and may send the next call
    return channel.send(last)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
