"""API keys: who is behind a key, by a file that is read again when it changes."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from time import time
from typing import NamedTuple

from inferencehub.core.auth.caller import Caller
from inferencehub.core.auth.key_file import KeyEntry, digest, read_keys
from inferencehub.core.values.errors import HubError, Kind

logger = logging.getLogger(__name__)

LOOK_S = 2.0  # a changed file is seen after so many seconds
MOST_BYTES = 4096  # of a credential; nothing that we made is longer


class BadKeyFile(Exception):
    """The file of keys cannot be used. The text names its setting and the file, what was expected and what came."""


class Known(NamedTuple):
    """A key of the file: who is behind it, and until when, in Unix time."""

    caller: Caller
    until: float


class ApiKeys:
    """The keys of a file.

    A file that is broken, or can't be read, changes nothing: the keys of the last good one hold. `reloads` counts how often
    new ones were used.

    Args:
        file: see `key_file.py`.
        setting: the name of the setting that names the file, for errors.

    Raises:
        BadKeyFile: if the file can't be used.
    """

    def __init__(self, file: str, setting: str) -> None:
        self._file = Path(file)
        self.setting = setting
        self._refused = ""
        self.reloads = 0
        try:
            self._content = self._file.read_bytes()
            self._known = known_of(read_keys(self._content))
        except (OSError, ValueError) as error:
            raise BadKeyFile(self._sentence(error)) from None
        self._seen: dict[
            bytes, Known
        ] = {}  # good keys that came: a digest takes several µs where caches are cold
        self._looking: asyncio.Task[None] | None = None

    @property
    def refused(self) -> bool:
        """Whether the file holds something that is not used."""
        return bool(self._refused)

    def caller(self, key: bytes) -> Caller:
        """Who is behind a key.

        Raises:
            HubError: UNAUTHENTICATED if the key is unknown or has expired.
        """
        found = self._seen.get(key)
        if found is None:
            found = self._known.get(digest(key)) if len(key) <= MOST_BYTES else None
            if found is None:
                raise HubError(Kind.UNAUTHENTICATED, "the key is unknown")
            self._seen[key] = found
        if time() > found.until:
            ended = datetime.fromtimestamp(found.until, UTC).isoformat(timespec="seconds")
            raise HubError(Kind.UNAUTHENTICATED, f"key '{found.caller.id}' has expired at {ended}")
        return found.caller

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
            self.look()

    def look(self) -> None:
        """Use what the file holds now, if it is new and good; else log once what is wrong with it."""
        try:
            content = self._file.read_bytes()
            if content != self._content:
                self._known, self._content = known_of(read_keys(content)), content
                self._seen.clear()
                self.reloads += 1
                logger.info("keys reloaded", extra={"keys": len(self._known)})
            self._refused = ""
        except (OSError, ValueError) as error:
            reason = self._sentence(error)
            if reason != self._refused:
                self._refused = reason
                logger.error("the new keys are not used, the last ones hold", extra={"reason": reason})

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return f"{self.setting} names {self._file}, which cannot be read: {error.strerror}"
        return f"{self.setting} ({self._file}) cannot be used: {error}"


def known_of(entries: tuple[KeyEntry, ...]) -> dict[bytes, Known]:
    """The keys of a file by their digests."""
    return {
        bytes.fromhex(entry.sha256): Known(
            Caller(entry.id, entry.tenant, entry.models, entry.actions, entry.limits()),
            inf if entry.not_after is None else entry.not_after.timestamp(),
        )
        for entry in entries
    }
