"""Models that follow their repository: `HUB_MODEL_CONTROL=poll`.

A file that is being written looks like a change. So a change counts once two looks have found the same, and a copy that
was made counts only if a third look, behind it, finds the same again.

A load may fail for what is not in its files, such as memory, a GPU, or a service that the model asks. So it is tried again,
after pauses that grow.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from math import inf
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from inferencehub.core.files.tree import Seen, is_directory, look
from inferencehub.core.process.tasks import cancelled, until
from inferencehub.core.values.errors import HubError, bad_input
from inferencehub.inference.models.control.control import ByRepository
from inferencehub.inference.models.control.copies import Copies
from inferencehub.inference.models.control.rollover import Rollover
from inferencehub.inference.models.model import ModelState
from inferencehub.inference.models.registry import Models
from inferencehub.inference.models.repository import is_model, is_version, read, versions_of

logger = logging.getLogger(__name__)

AGAIN_S = 1.0  # between two looks of which the first one has found a change
# The first and the longest pause before a load that failed is tried again with the same files.
RETRY_S = (10.0, 300.0)
Trees = Mapping[str, Seen]  # the files of each model by its name


class Retry(NamedTuple):
    """The next try of a load that failed: when, in seconds of `monotonic`, and the pause before it in seconds."""

    at: float
    pause: float


class Polling(ByRepository):
    """Looks at the repository again and again.

    Args:
        models: the models of this process.
        poll_s: seconds between two looks.

    Raises:
        OSError: if there is no place for copies.
    """

    mode = "poll"

    def __init__(self, models: Models, poll_s: float) -> None:
        super().__init__(models)
        self.poll_s = poll_s
        self.copies = Copies()
        self.rollover = Rollover(models, self.copies)
        self._followed: dict[str, Seen] = {}  # the files that were taken over last, loaded or not
        self._retries: dict[str, Retry] = {}
        self._failed = asyncio.Event()  # there is a new one of them
        self._changing: dict[str, asyncio.Task[None]] = {}
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See `Control`; then the looks begin."""
        trees = await asyncio.to_thread(trees_of, self.models.repository)
        for name, seen in trees.items():
            self._follow(name, seen)
        if not trees:
            logger.error("no models in the repository", extra={"directory": str(self.models.repository)})
        await asyncio.gather(*self._changing.values())
        self.models.scanned = self.models.loaded = True
        self.models.changed()
        self._polling = asyncio.get_running_loop().create_task(self._poll(trees))

    async def stop(self) -> None:
        """See `Control`."""
        polling = [self._polling] if self._polling is not None else []
        await cancelled([*polling, *self._changing.values()])
        await self.rollover.stop()
        await self.models.unload()
        await asyncio.to_thread(self.copies.close)

    async def _poll(self, before: Trees) -> None:
        failing, unsettled = "", False
        while True:
            await self._rest(unsettled)
            try:
                trees = await asyncio.to_thread(trees_of, self.models.repository)
            except Exception as error:  # a volume that is away for a moment unloads nothing
                if str(error) != failing:
                    log, unknown = {"reason": str(error)}, not isinstance(error, HubError | OSError)
                    logger.warning("the model repository cannot be read", extra=log, exc_info=unknown)
                failing, unsettled = str(error), True
                continue
            failing, unsettled = "", False
            for name in trees.keys() | self._followed.keys():
                seen = trees.get(name)
                if name in self._changing:
                    continue
                if seen == self._followed.get(name):
                    if name in self._retries and self._retries[name].at <= monotonic():
                        self._follow(name, seen)
                    continue
                if seen == before.get(name):
                    self._follow(name, seen)
                unsettled = True
            before = trees

    async def _rest(self, unsettled: bool) -> None:
        """Wait until the next look: for a retry it comes sooner, but never at once, or half a file would look whole."""
        began = monotonic()
        while True:
            self._failed.clear()
            retry = min((one.at for one in self._retries.values()), default=inf)
            soonest, latest = began + AGAIN_S, began + self.poll_s
            wait = min(latest, soonest if unsettled else max(soonest, retry)) - monotonic()
            if wait <= 0:
                return
            await until(self._failed, wait)

    def _follow(self, name: str, seen: Seen | None) -> None:
        """Begin to bring a model to what its directory says now; `seen` is None if that has gone."""
        self._changing[name] = changing = asyncio.get_running_loop().create_task(self._change(name, seen))
        changing.add_done_callback(lambda task: self._changing.pop(name))

    async def _change(self, name: str, seen: Seen | None) -> None:
        retry = self._retries.pop(name, None)
        if seen != self._followed.get(name):
            retry = None  # the pauses begin anew
        failed = True
        try:
            failed = bool(await self._bring(name, seen))
        except Exception:
            logger.exception("model could not follow its directory", extra={"model": name})
        if failed:
            first = min(self.poll_s, RETRY_S[0])
            pause = first if retry is None else min(2 * retry.pause, RETRY_S[1])
            self._retries[name] = Retry(monotonic() + pause, pause)
            self._failed.set()
        if seen is None:
            self._followed.pop(name, None)
        else:
            self._followed[name] = seen

    async def _bring(self, name: str, seen: Seen | None) -> str:
        """Returns why versions could not be loaded, as `Rollover.change`."""
        if seen is None:
            return await self.rollover.change(name, ())
        directory, before = self.models.repository / name, self._followed.get(name, {})
        found = await asyncio.to_thread(read, directory)
        # One that serves as it was, because its new files do not load, has a reason.
        serving = {
            version for version, model in self.models.of(name).items()
            if model.state is ModelState.READY and not model.reason
        }  # fmt: skip
        keep = [
            one.version for one in found
            if one.source and one.version in serving
            and part_of(seen, one.version) == part_of(before, one.version)
        ]  # fmt: skip
        changed = [one for one in found if one.version not in keep]
        return await self.rollover.change(name, changed, keep, lambda: look_at(directory) == seen, seen)


def trees_of(repository: Path) -> Trees:
    """The files of each model of a repository.

    Raises:
        HubError: BAD_INPUT if it is no directory.
        OSError: if it cannot be read.
    """
    return {name: look_at(repository / name) for name in names_in(repository)}


def names_in(repository: Path) -> list[str]:
    """The names of the models of a repository.

    Raises:
        HubError, OSError: as `trees_of`.
    """
    if not repository.is_dir():
        raise bad_input(f"the model repository '{repository}' is no directory")
    return [one.name for one in repository.iterdir() if is_model(one.name) and is_directory(one)]


def look_at(model: Path) -> Seen:
    """The files of a model, by their paths in its directory, and its versions, which may have none."""
    files = {os.path.relpath(path, model): file for path, file in look(model).items()}
    try:
        return dict.fromkeys(versions_of(model), (0, 0, 0)) | files
    except OSError:
        return files  # it went while it was looked at


def part_of(seen: Seen, version: str) -> Seen:
    """The files on which a version depends: its own, and those that no version has for itself."""
    others = (path.partition(os.sep)[0] for path in seen)
    return {
        path: file
        for (path, file), first in zip(seen.items(), others, strict=True)
        if first == version or not is_version(first)
    }
