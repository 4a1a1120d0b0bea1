"""The change from one set of versions of a model to another, while calls go on.

A version loads beside those that serve, and takes calls once it is ready. Those that go accept no call any more, finish
what they have, and are closed. If a load fails, what served before serves on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from inferencehub.core.process.tasks import first_of
from inferencehub.inference.models.control.copies import Copies
from inferencehub.inference.models.model import Model, ModelState
from inferencehub.inference.models.registry import Models
from inferencehub.inference.models.repository import Found

logger = logging.getLogger(__name__)


class Rollover:
    """Changes the versions of models.

    Args:
        models: the models of this process.
        copies: what versions are loaded from; each is dropped here when its version is closed.
    """

    def __init__(self, models: Models, copies: Copies) -> None:
        self.models = models
        self.copies = copies
        # What was tried, and the reasons by version; by model.
        self._failed: dict[str, tuple[object, dict[str, str]]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def change(
        self,
        name: str,
        found: Sequence[Found],
        keep: Collection[str] = (),
        unchanged: Callable[[], bool] = lambda: True,
        cause: object = None,
    ) -> str:
        """Let a model serve these versions. Only one change of a model may be under way.

        Args:
            name: the model.
            found: the versions to load, each from a copy of its own, or why it cannot be loaded.
            keep: further versions, which stay as they are.
            unchanged: whether the files are still those that `found` was read from; called in a thread.
            cause: what the change follows. A further try for the same cause does not write a reason into the log again.

        Returns:
            Why versions could not be loaded; "" if all serve. Then no other version is left.
        """
        before = self.models.of(name)
        serving = {version for version, model in before.items() if model.state is ModelState.READY}
        loading = [self.models.made(one) for one in found]
        tried, reasons = self._failed.pop(name, (None, {}))
        for model in loading:
            model.said = reasons.get(model.version, "") if cause is not None and cause == tried else ""
            if model.version not in serving:
                self._put(model)
            if model.reason:
                model.fail(model.reason)
        self.models.changed()
        try:
            await self._copy(loading, unchanged)
            await asyncio.gather(*[model.load() for model in loading if model.state is ModelState.LOADING])
        except asyncio.CancelledError:
            await asyncio.gather(*[model.unload() for model in loading])
            raise
        failed = [model for model in loading if model.state is not ModelState.READY]
        for model in loading:
            if model.version not in serving:
                continue
            if model in failed:
                why = f"it serves as it was loaded, its new files do not load: {model.reason}"
                before[model.version].reason = why
                self._close(model)
            else:
                self._put(model)
        if failed:
            self._failed[name] = cause, {model.version: model.reason for model in failed}
        wanted = {*keep, *(model.version for model in loading)}
        now = self.models.of(name)
        whole = not failed and all(now[version].state is ModelState.READY for version in wanted)
        for version, model in now.items():
            if version not in wanted and (whole or version not in serving):
                self.models.remove(model)
                self._close(model)
        self.models.changed()
        return "; ".join(model.reason for model in failed)

    async def stop(self) -> None:
        """Close at once what still waits for calls to end. No call may run any more."""
        self._stopping.set()
        await asyncio.gather(*self._closing)

    async def _copy(self, loading: Sequence[Model], unchanged: Callable[[], bool]) -> None:
        """Let models load copies of their files. One that cannot be copied whole fails."""
        for model in loading:
            try:
                model.found = await asyncio.to_thread(self.copies.of, model.found)
            except OSError as error:
                model.fail(f"its files cannot be copied: {error.strerror or error}")
        if loading and not await asyncio.to_thread(unchanged):
            for model in loading:
                model.fail("its files changed while they were copied")

    def _put(self, model: Model) -> None:
        before = self.models.put(model)
        if before is not None:
            self._close(before)

    def _close(self, model: Model) -> None:
        closing = asyncio.get_running_loop().create_task(self._closed(model))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _stopped(self) -> None:
        await self._stopping.wait()

    async def _closed(self, model: Model) -> None:
        """Wait for the calls of a version that takes none any more, and release all that it has."""
        served = model.state is ModelState.READY
        place = {"model": model.name, "version": model.version}
        try:
            await first_of(model.drained(), self._stopped())
            await model.unload()
        except Exception:
            logger.exception("model failed to unload", extra=place)
        finally:
            await asyncio.to_thread(self.copies.drop, model.found)
            self.models.metrics.shown.drop(model.metrics.own)
            now = self.models.of(model.name).get(model.version)
            if now is None or not now.asked:
                self.models.metrics.forget(model.name, model.version)
            elif now.state is not ModelState.READY:
                model.metrics.watch(*[zero] * 5)
        if served:
            logger.info("model unloaded", extra=place)


def zero() -> float:
    """What the gauges of a version show that is not loaded."""
    return 0.0
