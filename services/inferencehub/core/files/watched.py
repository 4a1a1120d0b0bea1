"""Files that are read again when they change, without a restart.

A Secret that Kubernetes mounts changes all its files at once, and other tools write one file after the other. So all files
are read whole, and what can't be used, is half written or can't be read changes nothing: the last good contents stay in use.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from inferencehub.core.audit import logger

LOOK_S = 2.0  # a changed file is seen after so many seconds


class BadFile(Exception):
    """Files that settings name can't be used. The text names settings and files, what was expected and what came."""


class WatchedFiles(ABC):
    """Files that belong together, and what is made of their contents by `use`.

    Args:
        setting: the setting that names the files, or the beginning of the names of several; for metrics and logs.
        files: the files by the names of their settings.

    `reloads` counts how often new contents were used.

    Raises:
        BadFile: if a file can't be read, or if the contents can't be used.
    """

    def __init__(self, setting: str, files: Mapping[str, str]) -> None:
        self.setting = setting
        self.reloads = 0
        self._names = {file: name for name, file in files.items()}
        self._files = [Path(file) for file in files.values()]
        # What is wrong: these contents, or that a file can't be read.
        self._refused: tuple[bytes, ...] | str | None = None
        self._reason = ""
        self._looking: asyncio.Task[None] | None = None
        try:
            self._used = self.read()
            self.use(self._used)
        except OSError as error:
            raise BadFile(self._unreadable(error)) from None

    @abstractmethod
    def use(self, contents: tuple[bytes, ...]) -> None:
        """Use these contents of all files, in their order, from now on, or change nothing.

        Raises:
            BadFile: if they can't be used.
            OSError: if a file can't be read, or does not hold what was read of it before.
        """

    @property
    def refused(self) -> bool:
        """Whether the files hold something that is not used."""
        return self._refused is not None

    @property
    def reason(self) -> str:
        """Why they are not used, as a sentence; "" if they are."""
        return self._reason if self.refused else ""

    def read(self) -> tuple[bytes, ...]:
        """What the files hold now, in their order.

        Raises:
            OSError: if a file can't be read.
        """
        return tuple(file.read_bytes() for file in self._files)

    def start(self) -> None:
        """Look for changes from now on."""
        self._looking = asyncio.get_running_loop().create_task(self._look_again())

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.look()
            except Exception as error:  # whatever it is, the next change must be seen
                self._refused = self._reason = repr(error)
                logger.exception("a look at files failed", extra={"setting": self.setting})

    def look(self) -> None:
        """Use what the files hold now, if it is new and good; else log once what is wrong with it."""
        found: tuple[bytes, ...] = ()
        try:
            found = self.read()
            if found == self._refused:
                return
            if found != self._used:
                self.use(found)
                self._used = found
                self.reloads += 1
                logger.info("files reloaded", extra={"setting": self.setting})
            self._refused = None
        except BadFile as error:  # looked at again when the contents have changed
            self._refuse(found, str(error))
        except OSError as error:  # looked at again at once
            reason = self._unreadable(error)
            self._refuse(reason, reason)

    def _refuse(self, what: tuple[bytes, ...] | str, reason: str) -> None:
        if what != self._refused:
            self._refused, self._reason = what, reason
            text = "changed files are not used, the last good contents stay in use"
            logger.error(text, extra={"setting": self.setting, "reason": reason})

    def _unreadable(self, error: OSError) -> str:
        name = self._names.get(str(error.filename), self.setting)
        return f"{name} names {error.filename}, which cannot be read: {error.strerror}"
