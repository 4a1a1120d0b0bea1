"""One instance of a Python model: the process that runs its calls, and the next one if that ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.structs.struct import replace
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.own_metrics import OwnMetrics
from inferencehub.inference.runtimes.calling.running import Gateway
from inferencehub.inference.runtimes.loaded_files import LoadedFiles
from inferencehub.inference.runtimes.python.channel import (
    Done,
    Load,
    ModelFailed,
    Ready,
    Tensors,
    call_frame,
    passed_on,
)
from inferencehub.inference.runtimes.python.environment import ModelEnvironment
from inferencehub.inference.runtimes.python.failures import ProcessEnded, log_trace
from inferencehub.inference.runtimes.python.grace import Grace
from inferencehub.inference.runtimes.python.process import Process
from inferencehub.inference.runtimes.runtime import EmitOutputs

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
LATE = "its run did not end by the request's deadline"


class PythonInstance:
    """One instance of the model: its present process, and its replacement if the process ends.

    Args:
        load: what each process loads.
        number: the instance's number in the runtime.
        environment: which environment variables each process gets.
        grace: how long runs may go on beyond their deadline.
        idle_death: called with the number of each slot that has no work while the process ends.
        own: the model's own metrics.
        gateway: where its calls of other models go; None if no setting says it.
        files: the files of the version, for all instances.
    """

    def __init__(
        self,
        load: Load,
        number: int,
        environment: ModelEnvironment,
        grace: Grace,
        idle_death: Callable[[int], None],
        own: OwnMetrics,
        gateway: Gateway | None,
        files: LoadedFiles,
    ) -> None:
        self.load = load
        self.number = number
        self.environment = environment
        self.grace = grace
        self.idle_death = idle_death
        self.own = own
        self.gateway = gateway
        self.files = files
        self.process: Process | None = None
        self.ready: Ready | None = None  # what the first process has said of the model
        self.recovered: asyncio.Future[None] | None = None
        self.tell: dict[int, Callable[[float], None]] = {}  # for the next run of each place
        self._busy: set[int] = set()
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
        self, place: int, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...] | None:
        """See `Runtime.run`; `place` is which of the calls in flight it is, from 0. If a process ends before it has read the call, the next process runs the call."""
        tell = self.tell.pop(place, None)
        buffers, early = call_frame(request, deadline, tell is not None), partial(passed_on, emit, tell)
        most = self.load.max_answer_bytes * request.callers.calls
        self._busy.add(place)
        try:
            while True:
                process = await self._ready(deadline)
                began, calls = monotonic(), process.calls[place]
                calls.others.begin(request, deadline)
                try:
                    message, body = await calls.call(buffers, deadline + self.grace.seconds, most, early)
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
            self._busy.discard(place)

    def log_at(self, level: int) -> None:
        """Let the process, and those that take its place, log from this level of the module `logging` on."""
        self.load = replace(self.load, log_level=level)
        if self.process is not None:
            self.process.calls[0].log_at(level)

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
        self.own.drop_gauges(self.number)
        self.files.running.discard(process.pid)
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
        for place in set(range(self.load.max_in_flight)) - self._busy:
            self.idle_death(self.number * self.load.max_in_flight + place)

    async def _started(self) -> Process:
        files = await self.files.to_load()
        began, load = monotonic(), self.load
        measured = partial(self.own.add, self.number)
        process = await Process.start(load, self.environment, self._ended, measured, self.gateway)
        try:
            await self.files.were_loaded(files)
            if process.ready != (self.ready or process.ready):
                raise HubError(Kind.MODEL_FAILED, f"{self.load.file} has changed since the model was loaded")
        except BaseException:
            process.kill()
            raise
        if process.status is None:  # else `_ended` was called before
            self.files.running.add(process.pid)
        self.ready = process.ready
        if self.load is not load:  # since it began
            process.calls[0].log_at(self.load.log_level)
        self.grace.started(monotonic() - began)
        return process

    async def _respawn(self) -> None:
        began = monotonic()
        while True:
            if self._deaths > 1:
                await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._deaths - 2, 10)))
            try:
                process = await self._started()
            except Exception as error:  # whatever it is, the next try may not meet it
                log = {"model": self.load.model, "instance": self.number, "detail": str(error)}
                unknown = not isinstance(error, HubError)
                logger.warning("model process did not come back", extra=log, exc_info=unknown)
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
