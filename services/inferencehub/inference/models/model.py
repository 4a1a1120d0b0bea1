"""A model version in this process: its runtime, its instances as slots, and the lane in front of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from time import monotonic

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.lane import Lane
from inferencehub.core.lane.queues.queue import Queue
from inferencehub.core.lane.retries import RetryBudget
from inferencehub.core.oip.model_info import parameters_of
from inferencehub.core.oip.unnamed_model import DEFAULT_FOR
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import ModelInfo, Signature
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.metrics import LaneMetrics
from inferencehub.inference.models.classification import read_labels
from inferencehub.inference.models.config import check_json_outputs
from inferencehub.inference.models.instance import Form, Instance
from inferencehub.inference.models.lfs import pointer_in, pointer_reason
from inferencehub.inference.models.repository import Found
from inferencehub.inference.models.reshape import Reshapes
from inferencehub.inference.models.warmup import warm_up
from inferencehub.inference.runtimes.runtime import ModelSource, Runtime, make_runtime, not_installed
from inferencehub.inference.runtimes.support.error_text import IN_LOG

logger = logging.getLogger(__name__)

WARM_UP_S = 300.0  # how long a run of a warm-up may take
DRAINED_S = 0.05  # how often a model that goes is asked whether its calls have ended


class ModelState(Enum):
    """A model's state, with the names of the repository index (OIP, "model repository extension")."""

    LOADING = "LOADING"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


class Model:
    """One version of a model.

    Args:
        found: the model version as the repository scan found it.
        bytes_held: the process's budget of request bytes.
        metrics: the metrics of this model version.
        changed: called whenever the model's state or its instances change.
    """

    def __init__(
        self, found: Found, bytes_held: ByteBudget, metrics: LaneMetrics, changed: Callable[[], None]
    ) -> None:
        self.name = found.name
        self.version = found.version
        self.found = found
        # The kind of /predict without a model name that this model gets; "" if its config has no `default_for`.
        source = found.source
        self.default_for = dict(parameters_of(source.config)).get(DEFAULT_FOR, "") if source else ""
        self.metrics = metrics
        self.changed = changed
        self.state = ModelState.LOADING if found.source else ModelState.UNAVAILABLE
        self.reason = found.reason
        self.said = ""  # the reason that the log has already
        self.asked = True  # whether it is to serve; the metrics do not show others
        self.loop = asyncio.get_running_loop()
        self.bytes_held = bytes_held
        self.runtime: Runtime
        self._loaded = False  # whether the runtime is to be unloaded
        self.form = Form(False, False, None, {})
        self.info = ModelInfo(self.name, self.version, "", Signature((), ()))
        self.lane: Lane[Instance] | None = None
        self._free: list[Instance] = []
        self._recovering: dict[Instance, asyncio.Task[None]] = {}

    @property
    def serves(self) -> bool:
        """Whether the model would run a call: it is loaded, and not all of its instances are being replaced."""
        return self.state is ModelState.READY and len(self._recovering) < self.info.slots

    async def load(self) -> None:
        """Load and warm up the model. It never raises; an error becomes the model's `reason`."""
        source = self.found.source
        if source is None:
            return
        started = monotonic()
        try:
            self.runtime = make_runtime(self.found.runtime, source)
            self.runtime.on_change = self._instance_changed
            self.runtime.own_metrics = self.metrics.own
            signature = await self.runtime.load()
            self._loaded = True
            reshapes = Reshapes(source.config) or None
            if reshapes:
                signature = reshapes.signature(signature)
            check_json_outputs(source.config, signature)
            labels = await asyncio.to_thread(read_labels, source.config, source.directory.parent)
            self.form = Form(bool(signature.max_batch_size), signature.decoupled, reshapes, labels)
            await warm_up(source, self._trial_of(signature), self._firsts(source))
        except HubError as error:
            self.fail(error.detail)
        except ImportError as error:
            self.fail(not_installed(self.found.runtime, error))
        except Exception:
            logger.exception("model failed to load", extra={"model": self.name, "version": self.version})
            self.fail(f"loading failed, {IN_LOG}")
        else:
            self.metrics.loads(True)
            self._serve(source, signature)
            took = round(monotonic() - started, 3)
            logger.info("model ready", extra={"model": self.name, "version": self.version, "seconds": took})
            if self.info.no_predict:
                logger.info(
                    "model is not for /predict, only for /v2",
                    extra={"model": self.name, "version": self.version, "reason": self.info.no_predict},
                )

    def _trial_of(self, signature: Signature) -> Callable[[int, InferRequest], Awaitable[None]]:
        async def run(instance: int, request: InferRequest) -> None:
            if self.runtime.recovery(instance) is not None:
                raise self._being_replaced()
            request, _ = signature.check(request)
            request = self.form.to_model(request)

            def credit(outputs: tuple[Tensor, ...], weight: int) -> None:
                self.runtime.credit(instance, weight)

            await self.runtime.run(instance, request, monotonic() + WARM_UP_S, credit)

        return run

    def _firsts(self, source: ModelSource) -> range:
        """The first slot of each instance, for a warm-up."""
        each = self.runtime.slots_each
        return range(0, source.instances * each, each)

    def fail(self, reason: str) -> None:
        """The load of the model has failed; it stays unavailable."""
        if self.found.source is not None and (pointer := pointer_in(self.found.source.directory)):
            reason = f"{pointer_reason(pointer)}; {reason}"
        self.state, self.reason = ModelState.UNAVAILABLE, reason
        self.metrics.loads(False)
        logger.log(
            logging.DEBUG if reason == self.said else logging.ERROR,
            "model unavailable",
            extra={"model": self.name, "version": self.version, "reason": reason},
        )
        self.changed()

    def _serve(self, source: ModelSource, signature: Signature) -> None:
        slots = source.instances * self.runtime.slots_each
        platform = source.config.platform or source.config.backend
        self.info = ModelInfo(
            self.name, self.version, platform, signature, slots, parameters_of(source.config)
        )
        self._free = [
            Instance(index, self.version, self.runtime, self.form, self.metrics) for index in range(slots)
        ]
        # The queue holds enough rows to fill every slot once more. Further requests should wait in a gateway, which can
        # still send them to another pod.
        queue = Queue(signature.mergeable_rows, slots * max(1, signature.max_batch_size))
        at_most_once = self.info.at_most_once
        self.lane = Lane(queue, self, self.bytes_held, RetryBudget(), self.metrics, at_most_once)
        self.state, self.reason = ModelState.READY, ""
        self.metrics.watch(
            lambda: len(queue),
            lambda: self.lane.in_use.jobs if self.lane else 0,
            lambda: slots,
            lambda: len(self._free),
            lambda: float(self.serves),
        )
        for index in range(slots):
            self._instance_changed(index)  # a warm-up may have broken it
        self.changed()

    def take(self, again: bool = False, at_once: bool = False) -> Instance | None:
        """Take a free instance, each of which begins at once; None if there is none."""
        return self._free.pop() if self._free else None

    def give(self, slot: Instance, again: bool = False) -> None:
        """Return an instance. If it has to recover first, it is free after that."""
        if self.runtime.recovery(slot.index) is None:
            self._free.append(slot)
        else:
            self._recover(slot)

    def log_at(self, level: int) -> None:
        """The service logs from this level of the module `logging` on."""
        if hasattr(self, "runtime"):
            self.runtime.log_at(level)

    @property
    def idle(self) -> int:
        """The same as `free`, because every free instance begins at once (see `Slots`)."""
        return len(self._free)

    spare = idle

    @property
    def free(self) -> int:
        """The number of free instances."""
        return len(self._free)

    def _instance_changed(self, index: int) -> None:
        for slot in self._free:
            if slot.index == index and self.runtime.recovery(index) is not None:
                self._free.remove(slot)
                self._recover(slot)
                return

    def _recover(self, slot: Instance) -> None:
        async def wait() -> None:
            await self._recovered(slot.index)
            if self.found.source is not None and slot.index % self.runtime.slots_each == 0:
                await warm_up(self.found.source, self._trial_of(self.info.signature), (slot.index,))
                await self._recovered(slot.index)  # the warm-up may have broken it, once
            del self._recovering[slot]
            self._free.append(slot)
            self.changed()
            if self.lane is not None:
                self.lane.pump()

        self._recovering[slot] = self.loop.create_task(wait())
        self.changed()
        if self.lane is not None and not self.serves:
            # The waiting work has not begun, so a gateway can send it to another pod.
            self.lane.refuse(lambda job: True, self._being_replaced())

    async def _recovered(self, index: int) -> None:
        while (recovery := self.runtime.recovery(index)) is not None:
            await recovery

    def _being_replaced(self) -> HubError:
        return HubError(Kind.BUSY, f"model '{self.name}': all its instances are being replaced")

    async def drained(self) -> None:
        """Wait until no call of it waits or runs any more."""
        while True:
            if self.lane is None or self.lane.idle:
                return
            await asyncio.sleep(DRAINED_S)

    async def unload(self) -> None:
        """Unload the model, even if its load was cancelled. No call of it may run any more."""
        for task in self._recovering.values():
            task.cancel()
        begun = self._loaded or self.state is ModelState.LOADING
        self.state, self.lane, self._loaded = ModelState.UNAVAILABLE, None, False
        if begun and hasattr(self, "runtime"):  # there is none if the load was cancelled before it began
            await self.runtime.unload()

    def open_lane(self) -> Lane[Instance]:
        """The model's lane.

        Raises:
            HubError: NOT_READY with the reason if the model is not loaded.
        """
        if self.lane is None:
            reason = self.reason or (
                "it is still loading" if self.state is ModelState.LOADING else "it was unloaded"
            )
            raise HubError(Kind.NOT_READY, f"model '{self.name}' does not serve: {reason}")
        return self.lane

    def lane_to_run(self) -> Lane[Instance]:
        """The model's lane, for a call that is to run now.

        Raises:
            HubError: NOT_READY as `open_lane`; BUSY while all instances are being replaced.
        """
        lane = self.open_lane()
        if not self.serves:
            raise self._being_replaced()
        return lane
