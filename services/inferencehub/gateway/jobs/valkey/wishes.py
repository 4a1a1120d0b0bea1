"""The wishes of a store in Valkey or Redis; `wishes.lua` says how."""

from __future__ import annotations

import msgspec

from inferencehub.gateway.jobs.valkey.server import Server
from inferencehub.gateway.routing.control.wishes import Known, Wish


class ValkeyWishes:
    """See the module's text; it is `Wishes`.

    Args:
        server: has them.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def revision(self) -> int:
        """See `Wishes`."""
        return int(await self._server.do("wish_revision"))

    async def keep(self, wish: Wish) -> None:
        """See `Wishes`."""
        await self._server.do("wish", wish.model, wish.revision, msgspec.json.encode(wish))

    async def read(self, mark: int) -> Known | None:
        """See `Wishes`."""
        found = await self._server.do("wishes", mark)
        if not found:
            return None
        now, flat = found
        kept = [msgspec.json.decode(each.partition(b" ")[2], type=Wish) for each in flat[1::2]]
        return Known(int(now), {wish.model: wish for wish in kept})
