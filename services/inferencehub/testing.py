"""A Python model in a unit test: it runs in the test's own process, where a debugger sees it, and is held against its config.

from inferencehub.testing import load


def test_it_doubles():
    model = load("models/double")
    assert model.predict({"x": [1, 2]})["y"].tolist() == [2, 4]
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from inferencehub.core.oip.model_info import ENVIRONMENT
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import Callers, InferRequest, Parameter
from inferencehub.inference.models.repository import read_model
from inferencehub.inference.runtimes.python.channel import Call
from inferencehub.inference.runtimes.python.runtime import Python
from inferencehub.inference.runtimes.python_worker.asking import refuse_on, tensor_of
from inferencehub.inference.runtimes.python_worker.loaded import Loaded
from inferencehub.inference.runtimes.python_worker.outputs import WrongOutputError
from inferencehub.inference.runtimes.support.arrays import from_array, to_array
from inferencehub.inference.runtimes.support.declared import needs_declaration
from inferencehub.model.calls import ModelCall

Arrays = dict[str, npt.NDArray[Any]]
# What stands for another model: a loaded one, or a function of the inputs.
Other = Union["TestedModel", Callable[[Arrays], Any]]
TIME_S = 3600.0  # until the deadline: a debugger takes its time


class TestedModel:
    """A loaded model; `model` is the object of its class. `load` makes it.

    Args:
        runtime: the version to load.
        calls: what stands for other models, see `load`.
    """

    __test__ = False  # for pytest, it is no test

    def __init__(self, runtime: Python, calls: Mapping[str, Other]) -> None:
        self._calls = GivenCalls(runtime.source.name, calls)
        config = runtime.source.config
        decoupled = config.model_transaction_policy.decoupled
        self.signature = replace(needs_declaration(config), decoupled=decoupled)
        self._name = runtime.source.name
        self._loaded = Loaded(runtime.to_load(self.signature))
        self.model: Any = self._loaded.model

    def predict(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        parameters: Mapping[str, Parameter] | None = None,
        id: str = "test",
    ) -> Arrays:
        """The outputs of one call, by name. Shapes are those of the model itself, without a `reshape`.

        Raises:
            AssertionError: if inputs or outputs are not those of the config, or the model gives several answers; it says
                what was expected and what came.
            Exception: whatever the model raises.
        """
        answers = self.answers(inputs, parameters, id)
        assert len(answers) == 1, f"model '{self._name}' gave {len(answers)} answers, expected one"
        return answers[0]

    def answers(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        parameters: Mapping[str, Parameter] | None = None,
        id: str = "test",
    ) -> list[Arrays]:
        """All answers to one call, as `predict` gives one.

        Raises:
            AssertionError: as `predict`.
            Exception: whatever the model raises.
        """
        checked = self._checked(inputs)
        call = Call((), False, parameters or {}, Callers(id), monotonic() + TIME_S)
        context = self._loaded.context(call, lambda: False, self._calls, None)
        rows = next(iter(checked.values())).shape[0] if self.signature.max_batch_size else 0
        given = self._loaded.model.predict(*self._loaded.with_second(checked, call, context))
        try:
            if isinstance(given, Generator | AsyncGenerator):
                self._loaded.must_be_decoupled()
                several = list(given) if isinstance(given, Generator) else asyncio.run(all_of(given))
            else:
                several = [asyncio.run(given) if inspect.iscoroutine(given) else given]
            outputs = [self._loaded.outputs(one, rows, 1) for one in several]
        except WrongOutputError as error:
            raise AssertionError(f"model '{self._name}' gave {error}") from None
        return [{tensor.name: to_array(tensor) for tensor in one} for one in outputs]

    def _checked(self, inputs: Mapping[str, npt.ArrayLike]) -> Arrays:
        """The inputs in the config's types, or an AssertionError."""
        dtypes = {spec.name: spec.dtype for spec in self.signature.inputs}
        unknown = sorted(inputs.keys() - dtypes.keys())
        assert not unknown, f"model '{self._name}' has no inputs {unknown}, expected {sorted(dtypes)}"
        try:
            tensors = [
                from_array(name, dtypes[name], np.asarray(value, object if dtypes[name] == "BYTES" else None))
                for name, value in inputs.items()
            ]
            request, _ = self.signature.check(InferRequest(self._name, "", tuple(tensors)))
        except ValueError as error:
            raise AssertionError(f"model '{self._name}': an input {error}") from None
        except HubError as error:
            raise AssertionError(error.detail) from None
        return {tensor.name: to_array(tensor).copy() for tensor in request.inputs}


class GivenCalls:
    """Calls of other models in a unit test: see `ModelCalls`.

    Args:
        model: who makes them.
        others: what is called, see `load`.
    """

    def __init__(self, model: str, others: Mapping[str, Other]) -> None:
        self._model, self._others = model, others

    async def call(self, call: ModelCall) -> Arrays:
        """See `ModelCalls`. It runs in a thread: a loaded model may have an event loop of its own there."""
        return await asyncio.to_thread(self.call_sync, call)

    def call_sync(self, call: ModelCall) -> Arrays:
        """See `ModelCalls`.

        Raises:
            AssertionError: if the test gives no such model.
        """
        refuse_on(None)
        other = self._others.get(call.model)
        names = sorted(self._others)
        assert other is not None, f"model '{self._model}' calls '{call.model}', and the test gives {names}"
        inputs = arrays_of(call.inputs)
        if isinstance(other, TestedModel):
            return other.predict(inputs, call.parameters)
        given = other(inputs)
        return arrays_of(asyncio.run(given) if inspect.iscoroutine(given) else given)


def arrays_of(given: Mapping[str, Any]) -> Arrays:
    """Arrays as they are at the other end of a call."""
    return {name: to_array(tensor_of(name, value)).copy() for name, value in given.items()}


def load(directory: str | Path, version: str = "", calls: Mapping[str, Other] | None = None) -> TestedModel:
    """Load a Python model in this process, with this process's packages also where its config has EXECUTION_ENV_PATH.

    Args:
        directory: the model's directory, with its config.pbtxt.
        version: which one; the newest that its config serves if not given.
        calls: what stands for the models that it calls, by their names: a loaded model, or a function of the inputs, which
            are a dict of arrays, that gives the outputs or raises `CallError`. It may be a coroutine function.

    Raises:
        AssertionError: if the config is not valid, or there is no such version or no Python model.
        Exception: whatever the model's file raises.
    """
    try:
        found = read_model(Path(directory))
        chosen = [one for one in found if version in ("", one.version)]
        versions = [one.version for one in found]
        assert chosen, f"'{directory}' has no version '{version}', expected one of {versions}"
        source = chosen[-1].source
        assert source is not None, f"'{directory}': {chosen[-1].reason}"
        runtime = chosen[-1].runtime
        assert runtime == "python", f"'{directory}' has backend '{runtime}', expected 'python'"
        try:
            return TestedModel(Python(source), calls or {})
        except ModuleNotFoundError as error:
            if environment := source.parameter(ENVIRONMENT, ""):
                error.add_note(
                    f"{ENVIRONMENT} is '{environment}', whose packages a test gets only if it runs with the interpreter there"
                )
            raise
    except (HubError, WrongOutputError) as error:
        raise AssertionError(f"'{directory}': {error}") from None


async def all_of(given: AsyncGenerator[Any, None]) -> list[Any]:
    """All that an asynchronous generator gives."""
    return [one async for one in given]
