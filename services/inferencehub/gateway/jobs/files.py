"""Files that callers send before they say what is to be done with them: the input of batches.

A file is kept, compressed, until its time is over or its owner deletes it. An owner has few, and so many bytes: what their
callers sent, not what the store needs for it.
"""

from __future__ import annotations

import logging
from typing import Protocol

import msgspec

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.jobs.packing import unpacked

logger = logging.getLogger(__name__)

MOST_FILES = 1000  # of an owner
MOST_BYTES = 2**28  # of an owner, if the settings do not say so


class StoredFile(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a file. Times are Unix time in seconds.

    Args:
        id: sorts by the time when the file came.
        name: what its sender calls it.
        size: bytes, as they came.
        created, expires: when it came, and when it is forgotten.
    """

    id: str
    name: str
    size: int
    created: float
    expires: float


class Files(Protocol):
    """The files of a store, which raises as `Store` does, and NOT_FOUND for a file that is not there or somebody else's."""

    async def add(self, owner: str, file: StoredFile, data: bytes) -> None:
        """Keep a file.

        Raises:
            HubError: BUSY if the owner has too many, or too large ones.
        """

    async def file(self, owner: str, id: str, now: float) -> StoredFile:
        """What is known of a file."""

    async def data(self, owner: str, id: str, now: float) -> bytes:
        """What it has."""

    async def listed(self, owner: str, now: float) -> list[StoredFile]:
        """All files of an owner, the newest first."""

    async def delete(self, owner: str, id: str, now: float) -> None:
        """Forget a file."""


def no_file(id: str) -> HubError:
    """The error for a file that is not there, or that belongs to somebody else."""
    return HubError(Kind.NOT_FOUND, f"there is no file '{id[:80]}'")


def no_room(files: int, size: int, more: int, most_bytes: int) -> HubError:
    """The error for a file that finds no place beside those that its owner has."""
    if files >= MOST_FILES:
        text = f"there are {files} files, and no more than {MOST_FILES} may be"
    else:
        text = f"there are files of {size} bytes, and with {more} more they would be larger than {most_bytes}"
    return HubError(Kind.BUSY, f"{text}; expected some to be deleted before", retry_after=60)


async def unpacked_file(id: str, data: bytes) -> bytes:
    """What a file has, out of what was kept.

    Raises:
        HubError: NOT_READY if it is damaged.
    """
    try:
        return await unpacked(data)
    except ValueError as error:
        logger.error("a file is damaged", extra={"file": id, "error": str(error)})
        text = "the store of jobs failed; the gateway's log says why"
        raise HubError(Kind.NOT_READY, text, retry_after=5) from None
