"""The files of a store in Valkey or Redis; see `jobs/files.py` for what each method does, and `files.lua` for how."""

from __future__ import annotations

import msgspec

from inferencehub.gateway.jobs.files import MOST_FILES, StoredFile, no_file, no_room, unpacked_file
from inferencehub.gateway.jobs.packing import packed
from inferencehub.gateway.jobs.valkey.rows import name
from inferencehub.gateway.jobs.valkey.server import Server


class ValkeyFiles:
    """See the module's text; a `Files`.

    Args:
        server: has them.
        most_bytes: of the files of an owner.
    """

    def __init__(self, server: Server, most_bytes: int) -> None:
        self._server = server
        self._most_bytes = most_bytes

    async def add(self, owner: str, file: StoredFile, data: bytes) -> None:
        """See `Files`."""
        known, kept = msgspec.json.encode(file), await packed(data)
        step = (file.created, name(owner), file.id, file.expires, file.size, MOST_FILES, self._most_bytes)
        found = await self._server.do("add_file", *step, known, kept)
        if found:
            files, size = map(int, found)
            raise no_room(files, size, file.size, self._most_bytes)

    async def file(self, owner: str, id: str, now: float) -> StoredFile:
        """See `Files`."""
        return known_of(await self._part(owner, id, now, "known"))

    async def data(self, owner: str, id: str, now: float) -> bytes:
        """See `Files`."""
        return await unpacked_file(id, await self._part(owner, id, now, "data"))

    async def listed(self, owner: str, now: float) -> list[StoredFile]:
        """See `Files`."""
        rows = await self._server.do("files", now, name(owner))
        return sorted(map(known_of, rows), key=lambda file: file.id, reverse=True)

    async def delete(self, owner: str, id: str, now: float) -> None:
        """See `Files`."""
        if not await self._server.do("delete_file", now, name(owner), id):
            raise no_file(id)

    async def _part(self, owner: str, id: str, now: float, part: str) -> bytes:
        found = await self._server.do("file", now, name(owner), id, part)
        if found is None:
            raise no_file(id)
        return bytes(found)


def known_of(data: bytes) -> StoredFile:
    """What is known of a file, as it was kept."""
    return msgspec.json.decode(data, type=StoredFile)
