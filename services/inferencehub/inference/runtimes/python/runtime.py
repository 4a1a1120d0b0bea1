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
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic

import inferencehub
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.python.channel import (
    Done,
    Load,
    ModelFailed,
    Tensors,
    call_frame,
    passed_on,
)
from inferencehub.inference.runtimes.python.environment import ModelEnvironment
from inferencehub.inference.runtimes.python.failures import ProcessEnded, log_trace
from inferencehub.inference.runtimes.python.grace import Grace
from inferencehub.inference.runtimes.python.process import Process
from inferencehub.inference.runtimes.runtime import EmitOutputs, ModelSource, Runtime
from inferencehub.inference.runtimes.support.cpu_limit import cpu_limit
from inferencehub.inference.runtimes.support.declared import needs_declaration

logger = logging.getLogger(__name__)

SOURCES = str(Path(inferencehub.__file__).parents[1])
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
LATE = "its run did not end by the request's deadline"


class Python(Runtime):
    """`source.instances` processes of one model version."""

    gives_several = needs_callers = True

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        self.instances: list[PythonInstance] = []

    async def load(self) -> Signature:
        config = self.source.config
        signature = replace(needs_declaration(config), decoupled=config.model_transaction_policy.decoupled)
        if not self.source.file.is_file():
            raise HubError(
                Kind.MODEL_FAILED, f"{self.source.file.name} is not in version {self.source.version}"
            )
        load = self._load(signature)
        rules = self.source.processes
        threads = max(1, cpu_limit() // self.source.instances)
        environment = ModelEnvironment(rules.environment, threads, SOURCES)
        grace = Grace(rules.grace_s)
        self.instances = [
            PythonInstance(load, number, environment, grace, self.on_change)
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
        return signature

    async def run(
        self, instance: int, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...] | None:
        return await self.instances[instance].run(request, deadline, emit)

    def credit(self, instance: int, size: int) -> None:
        process = self.instances[instance].process
        if process is not None:
            process.credit(size)

    def watch(self, instance: int, tell: Callable[[float], None]) -> None:
        self.instances[instance].tell = tell

    def recovery(self, instance: int) -> Awaitable[None] | None:
        recovered = self.instances[instance].recovered
        return None if recovered is None else asyncio.shield(recovered)

    async def unload(self) -> None:
        await asyncio.gather(*[each.stop() for each in self.instances])

    def _load(self, signature: Signature) -> Load:
        return Load(
            self.source.name,
            str(self.source.directory.absolute()),
            os.path.relpath(self.source.file, self.source.directory),
            {name: value.string_value for name, value in self.source.config.parameters.items()},
            signature.outputs,
            signature.max_batch_size,
            signature.decoupled,
            self.source.processes.max_answer_bytes,
        )


class PythonInstance:
    """One instance of the model: its present process, and its replacement if the process ends.

    Args:
        load: what each process loads.
        number: the instance's number in the runtime.
        environment: which environment variables each process gets.
        grace: how long runs may go on beyond their deadline.
        idle_death: called with `number` if the process ends while it has no work.
    """

    def __init__(
        self,
        load: Load,
        number: int,
        environment: ModelEnvironment,
        grace: Grace,
        idle_death: Callable[[int], None],
    ) -> None:
        self.load = load
        self.number = number
        self.environment = environment
        self.grace = grace
        self.idle_death = idle_death
        self.process: Process | None = None
        self.recovered: asyncio.Future[None] | None = None
        self.tell: Callable[[float], None] | None = None  # for the next run
        self._busy = False
        self._deaths = 0  # since the last answer
        self._respawning: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Start the first process and load the model in it.

        Raises:
            HubError: MODEL_FAILED if that fails.
        """
        self.process = process = await self._started()
        if process.status is not None:
            self._ended(process)

    async def run(
        self, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...] | None:
        """See `Runtime.run`. If a process ends before it has read the call, the next process runs the call."""
        tell, self.tell = self.tell, None
        buffers, early = call_frame(request, deadline, tell is not None), partial(passed_on, emit, tell)
        most = self.load.max_answer_bytes * request.callers.calls
        self._busy = True
        try:
            while True:
                process = await self._ready(deadline)
                began = monotonic()
                try:
                    message, body = await process.call(buffers, deadline + self.grace.seconds, most, early)
                except ProcessEnded as end:
                    if end.hung:
                        raise self._too_late(LATE) from None
                    if end.unread:
                        continue
                    text = f"model '{self.load.model}': its process ended ({end.how}) while it ran"
                    raise HubError(Kind.MODEL_FAILED, text) from None
                finally:
                    if process.status is None:
                        self.grace.ran(monotonic() - began)
                self._deaths = 0
                if monotonic() > deadline:
                    raise self._too_late(LATE)
                if isinstance(message, Tensors):
                    return message.over(body)
                if isinstance(message, Done):
                    return None
                assert isinstance(message, ModelFailed)
                log_trace(self.load.model, message, request.callers)
                raise HubError(Kind.BAD_INPUT if message.refused else Kind.MODEL_FAILED, message.detail)
        finally:
            self._busy = False

    async def stop(self) -> None:
        """End the process, and stop trying to start a new one."""
        self._stopped = True
        if self._respawning is not None:
            self._respawning.cancel()
            with suppress(asyncio.CancelledError):
                await self._respawning
        if self.process is not None:
            await self.process.stop()
        self._settle()

    async def _ready(self, deadline: float) -> Process:
        if self.recovered is not None:
            left = deadline - monotonic()
            await asyncio.wait({self.recovered}, timeout=max(0.0, left))
            if self.recovered is not None:
                raise self._too_late("its process was not back before the request's deadline")
        if self.process is None or self._stopped:
            raise HubError(Kind.NOT_READY, f"model '{self.load.model}' is being unloaded")
        return self.process

    def _ended(self, process: Process) -> None:
        if process is not self.process or self._stopped:
            return
        log = {
            "model": self.load.model,
            "instance": self.number,
            "pid": process.pid,
            "status": process.status,
        }
        logger.warning("model process ended", extra=log)
        self.process = None
        self._deaths += 1
        loop = asyncio.get_running_loop()
        if self.recovered is None:
            self.recovered = loop.create_future()
        self._respawning = loop.create_task(self._respawn())
        if not self._busy:
            self.idle_death(self.number)

    async def _started(self) -> Process:
        began = monotonic()
        process = await Process.start(self.load, self.environment, self._ended)
        self.grace.started(monotonic() - began)
        return process

    async def _respawn(self) -> None:
        began = monotonic()
        while True:
            if self._deaths > 1:
                await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._deaths - 2, 10)))
            try:
                process = await self._started()
            except HubError as error:
                log = {"model": self.load.model, "instance": self.number, "detail": error.detail}
                logger.warning("model process did not come back", extra=log)
                self._deaths += 1
                continue
            if process.status is None:
                break
            self._deaths += 1
        self.process = process
        took = monotonic() - began
        logger.info("model process is back", extra={"model": self.load.model, "seconds": round(took, 3)})
        self._settle()

    def _settle(self) -> None:
        recovered, self.recovered = self.recovered, None
        if recovered is not None and not recovered.done():
            recovered.set_result(None)

    def _too_late(self, why: str) -> HubError:
        return HubError(Kind.DEADLINE, f"model '{self.load.model}': {why}")
