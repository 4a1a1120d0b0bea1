"""The quotas of a store in Valkey or Redis; `quotas.lua` says how."""

from __future__ import annotations

from inferencehub.gateway.calls.limits.quotas import MOST_BLOCK, SHARE, Answer, Ask
from inferencehub.gateway.jobs.valkey.rows import name
from inferencehub.gateway.jobs.valkey.server import Server


class ValkeyQuotas:
    """See the module's text; it is `Quotas`.

    Args:
        server: has them.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def lease(self, ask: Ask) -> Answer:
        """See `Quotas`."""
        asked = (ask.need, ask.least, int(ask.block), ask.have, ask.back, ask.owed, SHARE, MOST_BLOCK)
        step = ("lease", ask.day, name(ask.quota), ask.holder, ask.number, ask.most, *asked)
        granted, used = await self._server.do(*step)
        return Answer(int(granted), int(used))

    async def used(self, quota: str, day: int) -> int:
        """See `Quotas`."""
        return int(await self._server.do("quota_used", day, name(quota)))
