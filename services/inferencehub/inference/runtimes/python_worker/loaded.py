"""The user's model in its process: its file, its class, and what its method `predict` takes and gives."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import inferencehub
from inferencehub.core.values.requests import size_of
from inferencehub.core.values.tensors import Buffer, Tensor
from inferencehub.inference.runtimes.python.channel import Call, Load, ModelFailed, Ready, frame
from inferencehub.inference.runtimes.python_worker.outputs import WrongOutputError, checked
from inferencehub.inference.runtimes.support.arrays import to_array
from inferencehub.inference.runtimes.support.error_text import failed_run, first_line
from inferencehub.model.calls import CallError, ModelCalls
from inferencehub.model.context import Context

logger = logging.getLogger(__name__)

DECOUPLED = "its config has no model_transaction_policy { decoupled: true }"
TRACE_LIMIT = 16_000
# Files of frames that tell a user nothing.
OURS = (str(Path(inferencehub.__file__).parent), "<frozen importlib")
BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Loaded:
    """The model: that of the user's file, or a reader's.

    Raises:
        WrongOutputError: if the file has no class `Model` with a method `predict`.
        HubError: if a reader refuses its file.
        Exception: whatever the user's file or a library raises.
    """

    def __init__(self, load: Load) -> None:
        self.load = load
        self.ready = Ready(outputs=load.outputs)
        if load.reader:
            self.model = import_module(load.reader).Model(load)
            self.ready = self.model.ready
        else:
            self.model = self._imported(Path(load.directory))
        self.second = second_argument(self.model.predict)

    def _imported(self, directory: Path) -> Any:
        """The `Model` of the user's file."""
        load = self.load
        sys.path.insert(0, load.directory)  # the model may import files beside it
        spec = importlib.util.spec_from_file_location("model", directory / load.file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["model"] = module  # pickle looks classes up here
        spec.loader.exec_module(module)
        if not hasattr(module, "Model"):
            raise WrongOutputError("has no class Model")
        model = module.Model(directory, load.parameters)
        if not callable(getattr(model, "predict", None)):
            raise WrongOutputError("has a class Model without a method predict")
        if load.max_in_flight > 1 and not waits(model.predict):
            raise WrongOutputError(f"has no `async def predict`, and max_in_flight is {load.max_in_flight}")
        return model

    def outputs(self, given: Any, rows: int, calls: int) -> list[Tensor]:
        """One answer to so many calls, checked. A ValueError here is not a refusal by the model, so it becomes a RuntimeError."""
        try:
            outputs = checked(given, self.ready.outputs, rows)
        except ValueError as error:
            raise RuntimeError("the outputs cannot be read") from error
        size, limit = size_of(tuple(outputs)), self.load.max_answer_bytes * calls
        if size > limit:
            raise WrongOutputError(f"an answer of {size} bytes, more than the limit {limit}")
        return outputs

    def context(
        self,
        call: Call,
        stopped: Callable[[], bool],
        calls: ModelCalls,
        tell: Callable[[float], None] | None,
    ) -> Context:
        """What the model may ask about a call: see `Context`."""
        callers = call.callers
        about = (callers.id, callers.traceparent, callers.tracestate)
        return Context(*about, call.deadline, call.parameters, stopped, calls, tell)

    def arguments(self, call: Call, body: memoryview, context: Context) -> tuple[tuple[Any, ...], int]:
        """The arguments of `predict`, and the number of rows; 0 if the model does not batch."""
        inputs = {tensor.name: to_array(tensor) for tensor in call.over(body)}
        rows = 0
        if self.load.max_batch_size:
            rows = next(iter(inputs.values())).shape[0] if inputs else 1
        return self.with_second(inputs, call, context), rows

    def with_second(self, inputs: dict[str, Any], call: Call, context: Context) -> tuple[Any, ...]:
        """The arguments of `predict`: the inputs, and what it takes beside them."""
        if not self.second:
            return (inputs,)
        return inputs, context if self.second == "context" else call.parameters

    def must_be_decoupled(self) -> None:
        """Raises WrongOutputError if the config does not allow several answers."""
        if not self.load.decoupled:
            raise WrongOutputError(f"several answers, and {DECOUPLED}")

    def failed(self, error: BaseException) -> list[Buffer]:
        """The frame that ends a call whose `predict` has raised."""
        name = self.load.model
        if isinstance(error, ValueError):
            sentence = first_line(error) or "it does not take this input"
            return frame(ModelFailed(f"model '{name}': {sentence}", traced(error), refused=True))
        if isinstance(error, WrongOutputError):
            return frame(ModelFailed(f"model '{name}' gave {first_line(error)}"))
        if isinstance(error, CallError):
            return frame(ModelFailed(f"model '{name}': {error}", traced(error)))
        return frame(ModelFailed(failed_run(name).detail, traced(error)))

    def close(self) -> Any:
        """Call the model's `close`, if it has one; what that gives may be awaitable."""
        return self.model.close() if hasattr(self.model, "close") else None

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Around `close`: what the model raises there is a line in the log."""
        try:
            yield
        except Exception:
            logger.exception("close failed")


def waits(predict: Callable[..., Any]) -> bool:
    """Whether it is `async def`, so that several calls of it may be in flight."""
    return inspect.iscoroutinefunction(predict) or inspect.isasyncgenfunction(predict)


def second_argument(predict: Callable[..., Any]) -> str:
    """The name of the second positional argument of a bound method; "" if it has none."""
    arguments = inspect.signature(predict).parameters.values()
    return ([argument.name for argument in arguments if argument.kind in BY_POSITION] + ["", ""])[1]


def traced(error: BaseException) -> str:
    """The traceback of an exception, at most `TRACE_LIMIT` characters. Frames of ours before the user's code are left out."""
    inner = own = error.__traceback__ and error.__traceback__.tb_next
    while inner and inner.tb_frame.f_code.co_filename.startswith(OURS):
        inner = inner.tb_next
    if isinstance(error, SyntaxError):  # which names its file and line itself
        own = None
    return "".join(traceback.format_exception(type(error), error, inner or own))[-TRACE_LIMIT:]
