"""The process of one instance of a Python model: it loads `model.py`, then answers one call after the other.

`process.py` starts it as `python -m …runtimes.python.worker FD PARENT`. Frames are sent over the inherited file
descriptor FD, so what the model prints goes to the service's standard error. The process ends when the service closes
its end of the socket or dies.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib.util
import inspect
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any

from inferencehub.core.lane.sink import WINDOW, weight_of
from inferencehub.core.values.requests import size_of
from inferencehub.core.values.tensors import Buffer, Tensor
from inferencehub.inference.runtimes.python.channel import (
    Call,
    Credit,
    Done,
    Inbox,
    Load,
    Message,
    ModelFailed,
    Ready,
    Stop,
    answer_frame,
    frame,
)
from inferencehub.inference.runtimes.python.context import Context
from inferencehub.inference.runtimes.python.outputs import WrongOutputError, checked
from inferencehub.inference.runtimes.runtime import failed_run
from inferencehub.inference.runtimes.support.arrays import to_array
from inferencehub.inference.runtimes.support.error_text import first_line

PR_SET_PDEATHSIG = 1
DECOUPLED = "its config has no model_transaction_policy { decoupled: true }"
TRACE_LIMIT = 16_000
BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Pipe:
    """The inherited socket, in blocking mode.

    During a call only credits and `Stop` come. They are read when somebody asks, from any thread of the model.
    """

    def __init__(self, fd: int) -> None:
        self._window = WINDOW  # see `core/lane/sink.py`
        self._stopped = False
        self._lock = Lock()
        self._socket = socket.socket(fileno=fd)
        self._inbox = Inbox()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        # A process that the model starts must not keep the channel open after this process has ended.
        self._socket.set_inheritable(False)
        os.register_at_fork(after_in_child=self._socket.close)

    def receive(self) -> tuple[Message, memoryview] | None:
        """The next frame; None if the service has closed its end or is gone."""
        got = self._inbox.took(0)  # a frame may have come with the one before
        while got is None:
            try:
                count = self._socket.recv_into(self._inbox.room())
            except ConnectionError:
                return None
            if not count:
                return None
            got = self._inbox.took(count)
        return got

    def call(self) -> tuple[Call, memoryview] | None:
        """The next call; None if the service has closed its end or is gone."""
        while (got := self.receive()) is not None:
            message, body = got
            if isinstance(message, Call):
                self._window, self._stopped = WINDOW, False
                return message, body
            assert isinstance(message, Stop | Credit)  # it was meant for the call before
        return None

    def stopped(self) -> bool:
        """Whether the service does not want the answer any more, or has gone."""
        with self._lock:
            while not self._stopped and (self._inbox.begun or self._poll.poll(0)):
                self._read()
        return self._stopped

    def give(self, weight: int) -> bool:
        """Note that one of several answers was sent, and wait until there may be another; False if nobody wants one."""
        self._window -= weight
        with self._lock:
            while not self._stopped and self._window <= 0:
                self._read()
        return not self.stopped()

    def _read(self) -> None:
        got = self.receive()
        if got is not None and isinstance(got[0], Credit):
            self._window += got[0].size
        else:
            self._stopped = True

    def send(self, buffers: Iterable[Buffer]) -> bool:
        """Send a frame; False if the service has closed its end or is gone."""
        try:
            for buffer in buffers:
                self._socket.sendall(buffer)
        except ConnectionError:
            return False
        return True


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

    def answers(self, call: Call, body: memoryview, channel: Pipe) -> Iterator[list[Buffer]]:
        """The frame that answers a call. If `predict` is a generator: a frame for each answer, and a last one."""
        context = Context(call.id, call.deadline, call.parameters, channel.stopped)
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
                yield answer_frame(self._outputs(given, rows, call.calls))
            else:
                with closing(several):
                    yield from self._parts(several, rows, context, channel)
                yield frame(Done())
        except ValueError as error:
            sentence = first_line(error) or "it does not take this input"
            yield frame(ModelFailed(f"model '{self.load.model}': {sentence}", traced(error), refused=True))
        except WrongOutputError as error:
            yield frame(ModelFailed(f"model '{self.load.model}' gave {first_line(error)}"))
        except GeneratorExit:
            raise
        except BaseException as error:
            yield frame(ModelFailed(failed_run(self.load.model).detail, traced(error)))

    def _parts(
        self, several: Generator[Any, None, None], rows: int, context: Context, channel: Pipe
    ) -> Iterator[list[Buffer]]:
        if not self.load.decoupled:
            raise WrongOutputError(f"several answers, and {DECOUPLED}")
        for given in several:
            outputs = self._outputs(given, rows, 1)
            yield answer_frame(outputs, more=True)
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
        """Call the model's `close`, if it has one."""
        if hasattr(self.model, "close"):
            self.model.close()


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
    sys.argv = [load.file]  # a model's own libraries may read it
    try:
        loaded = Loaded(load)
    except WrongOutputError as error:
        channel.send(frame(ModelFailed(f"{load.file} {error}")))
        return
    except BaseException as error:
        channel.send(frame(ModelFailed(why(load, error), traced(error))))
        return
    channel.send(frame(Ready()))
    while answered(loaded, channel):
        pass
    loaded.close()


def answered(loaded: Loaded, channel: Pipe) -> bool:
    """Answer the next call; False if there is none, or nobody for its answer. Between two calls, nothing of a call is in memory."""
    got = channel.call()
    return got is not None and all(map(channel.send, loaded.answers(*got, channel)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
