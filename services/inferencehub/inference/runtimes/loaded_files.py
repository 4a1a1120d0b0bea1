"""The files of a model version, so that a process that takes the place of another never runs others than its siblings.

Without HUB_MODEL_CONTROL, processes load the files of the repository, which somebody may be editing. What is watched are the
files that were there before the model was loaded and that it did not change itself meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from inferencehub.core.files.tree import look, written
from inferencehub.core.values.errors import HubError, Kind

QUIET_S = 1.0  # files that have changed must stay as they are for so long

Files = Mapping[str, tuple[int, int]]  # time of the last change, in ns, and size, by path


class LoadedFiles:
    """What the processes of one version have loaded.

    Args:
        directory: the version directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loaded: Files = {}  # those that are watched
        self.running: set[int] = set()  # the ids of processes that have loaded them and have not ended

    async def look(self) -> Files:
        """The files as they are now."""
        return await asyncio.to_thread(files_of, self._directory)

    async def watch(self, before: Files) -> None:
        """The model has been loaded: from now on its files are watched.

        Args:
            before: what `look` gave before.
        """
        now = await self.look()
        self._loaded = {name: stat for name, stat in before.items() if now.get(name) == stat}

    async def to_load(self) -> Files:
        """The watched files that a process is about to load.

        Raises:
            HubError: MODEL_FAILED if files have changed and other processes run what they were before, or if they change now.
        """
        if not self._loaded:  # nothing is watched yet
            return {}
        found = await self.look()
        if name := changed(self._loaded, found):
            if self.running:
                raise HubError(
                    Kind.MODEL_FAILED,
                    f"'{name}' has changed since the model was loaded, and its other processes run with what it was: start the "
                    "pod anew, or let HUB_MODEL_CONTROL=poll follow changes",
                )
            await asyncio.sleep(QUIET_S)
            if name := changed(found, await self.look()):
                raise HubError(Kind.MODEL_FAILED, f"'{name}' is being changed")
        return {name: stat for name, stat in found.items() if name in self._loaded}

    async def were_loaded(self, files: Files) -> None:
        """A process has loaded these files; if it still lives, its id belongs into `running`.

        Args:
            files: what `to_load` gave before.

        Raises:
            HubError: MODEL_FAILED if they changed meanwhile, or another process has loaded others.
        """
        if not files:
            return
        name = changed(files, await self.look()) or (changed(self._loaded, files) if self.running else "")
        if name:
            raise HubError(Kind.MODEL_FAILED, f"'{name}' changed while the model was loaded")
        self._loaded = files


def files_of(directory: Path) -> Files:
    """The files below a directory, hidden ones left out; links are what they point at."""
    return {os.path.relpath(path, directory): seen[:2] for path, seen in look(directory).items()}


def changed(before: Files, now: Files) -> str:
    """A file that is not what it was before; "" if there is none."""
    return written(next((name for name, stat in before.items() if now.get(name) != stat), ""))
