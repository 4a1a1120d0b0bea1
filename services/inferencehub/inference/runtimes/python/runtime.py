"""Models that are a user's own Python: a file `model.py` in the version directory, with a class `Model`.

    import numpy as np


    class Model:
        def __init__(self, directory, parameters):
            self.weights = np.load(directory / "weights.npy")

        def predict(self, inputs):
            return {"scores": inputs["x"] @ self.weights}

`directory` is the version directory (a Path), `parameters` are those of config.pbtxt (dict of str). `inputs` has a numpy
array for each input by name, which the model may change; if the model batches, rows are the first dimension. BYTES
elements are bytes. `predict` returns a dict with an array for each output by name, in the declared shape (a first or
last dimension of size 1 may be missing) and a type that fits the declared one; BYTES may be str. A generator gives several answers: it yields such a dict for each. A method
`predict(self, inputs, parameters)` also gets the request's parameters (dict of bool, int, float and str). If the second
argument is called `context`, it is a `Context` (context.py). A method `close(self)` is called before the process ends.
model.py can import files next to it.

To refuse an input, raise `ValueError("a sentence for the caller")`: the caller gets the sentence with status 400. For
any other exception, the caller learns only that the model failed; its text and traceback are in the log.

Each instance is a separate process. It may hold the GIL, hang or crash; only the call that it runs is lost. If the
call's deadline passes, the run may go on for a grace (grace.py), and its answer is thrown away. After that the process
is killed. An instance without a process gets a new one immediately. If that one ends without an answer, too, further
ones start after pauses that grow from 0.2 s to 5 s.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import inferencehub
from inferencehub.core.oip.model_info import ENVIRONMENT, MAX_IN_FLIGHT, MOST_IN_FLIGHT, in_flight
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.loaded_files import LoadedFiles
from inferencehub.inference.runtimes.python.channel import Load
from inferencehub.inference.runtimes.python.environment import ModelEnvironment, interpreter_of
from inferencehub.inference.runtimes.python.grace import Grace
from inferencehub.inference.runtimes.python.instance import PythonInstance
from inferencehub.inference.runtimes.runtime import EmitOutputs, ModelSource, Runtime
from inferencehub.inference.runtimes.support.cpu_limit import cpu_limit
from inferencehub.inference.runtimes.support.declared import needs_declaration

SOURCES = str(Path(inferencehub.__file__).parents[1])


class Python(Runtime):
    """`source.instances` processes of one model version."""

    gives_several = needs_callers = True
    is_directory = False  # whether its model file is a directory

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        self.in_flight = checked_in_flight(source)
        self.instances: list[PythonInstance] = []

    @property
    def slots_each(self) -> int:
        return self.in_flight

    async def load(self) -> Signature:
        signature = self._declared()
        file = self.source.file
        if not (file.is_dir() if self.is_directory else file.is_file()):
            raise HubError(Kind.MODEL_FAILED, f"{file.name} is not in version {self.source.version}")
        load = self.to_load(signature)
        rules = self.source.processes
        threads = max(1, cpu_limit() // self.source.instances)
        environment = ModelEnvironment(
            rules.environment, threads, SOURCES, self.interpreter(load), self.variables()
        )
        grace = Grace(rules.grace_s)
        files = LoadedFiles(self.source.directory)
        before = await files.look()
        self.instances = [
            PythonInstance(
                self.placed(load, number),
                number,
                environment,
                grace,
                self.on_change,
                self.own_metrics,
                rules.gateway,
                files,
            )
            for number in range(self.source.instances)
        ]
        try:
            results = await asyncio.gather(*[each.start() for each in self.instances], return_exceptions=True)
        except asyncio.CancelledError:
            await self.unload()
            raise
        for result in results:
            if isinstance(result, BaseException):
                await self.unload()
                raise result
        await files.watch(before)
        return signature

    async def run(
        self, instance: int, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...] | None:
        return await self._of(instance).run(instance % self.in_flight, request, deadline, emit)

    def credit(self, instance: int, size: int) -> None:
        process = self._of(instance).process
        if process is not None:
            process.calls[instance % self.in_flight].credit(size)

    def watch(self, instance: int, tell: Callable[[float], None]) -> None:
        self._of(instance).tell[instance % self.in_flight] = tell

    def log_at(self, level: int) -> None:
        for each in self.instances:
            each.log_at(level)

    def recovery(self, instance: int) -> Awaitable[None] | None:
        recovered = self._of(instance).recovered
        return None if recovered is None else asyncio.shield(recovered)

    async def unload(self) -> None:
        await asyncio.gather(*[each.stop() for each in self.instances])
        self.own_metrics.clear()

    def _of(self, slot: int) -> PythonInstance:
        return self.instances[slot // self.in_flight]

    def _declared(self) -> Signature:
        config = self.source.config
        return replace(needs_declaration(config), decoupled=config.model_transaction_policy.decoupled)

    def interpreter(self, load: Load) -> str:
        """The interpreter that the config asks for; "" for the service's own.

        Raises:
            HubError: BAD_INPUT if there is none, or the model is a file that a reader of ours reads.
        """
        text = self.source.parameter(ENVIRONMENT, "")
        if text and load.reader:
            raise HubError(
                Kind.BAD_INPUT, f"{ENVIRONMENT} is for models of backend 'python', whose code is a model.py"
            )
        return interpreter_of(text, self.source.original or self.source.directory.parent) if text else ""

    def to_load(self, signature: Signature) -> Load:
        """What a process gets to load."""
        return Load(
            self.source.name,
            self.source.version,
            logging.getLogger().level,
            str(self.source.directory.absolute()),
            os.path.relpath(self.source.file, self.source.directory),
            {name: value.string_value for name, value in self.source.config.parameters.items()},
            signature.outputs,
            signature.max_batch_size,
            signature.decoupled,
            self.source.processes.max_answer_bytes,
            self.in_flight,
            allow_pickle=self.source.processes.allow_pickle,
        )

    def variables(self) -> dict[str, str]:
        """What the processes find in their environment for their library."""
        return {}

    def placed(self, load: Load, instance: int) -> Load:
        """What the process of an instance gets to load: the same in all of them, unless they are on several devices."""
        return load


def checked_in_flight(source: ModelSource) -> int:
    """How many calls an instance may run at the same time.

    Raises:
        HubError: BAD_INPUT if the config's parameter is not from 1 to `MOST_IN_FLIGHT`.
    """
    most = in_flight(source.config)
    text = source.parameter(MAX_IN_FLIGHT, "1")
    if text == str(most):
        return most
    raise HubError(
        Kind.BAD_INPUT,
        f"parameter '{MAX_IN_FLIGHT}' is '{text}', expected a number from 1 to {MOST_IN_FLIGHT}",
    )
