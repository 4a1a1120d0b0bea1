"""What is to be delivered, in Valkey or Redis."""

from __future__ import annotations

from collections.abc import Mapping

from inferencehub.gateway.jobs.record import JobRecord, Webhook
from inferencehub.gateway.jobs.valkey.rows import record_of
from inferencehub.gateway.jobs.valkey.server import Server


class ValkeyWebhooks:
    """See the module's text; an `Outbox`.

    Args:
        server: has it.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def claim(
        self, most: int, each: int, places: Mapping[str, int], lease_s: float, now: float
    ) -> list[JobRecord]:
        """See `Outbox`."""
        flat = [part for place in places.items() for part in place]
        rows = await self._server.do("claim_webhooks", now, now + lease_s, most, each, *flat)
        return [record_of(row) for row in rows]

    async def done(self, id: str, webhook: Webhook, due: float | None) -> bool:
        """See `Outbox`."""
        said = (webhook.ends, webhook.attempts, webhook.state, webhook.status, webhook.error)
        return bool(await self._server.do("webhook_done", id, *said, "" if due is None else due))
