"""What is to be delivered, as a store keeps it.

A webhook becomes due in the same step in which its job ends, so none is lost with a gateway. Who delivers claims it, and
has so long as the lease to say what came of it; then it is due again. `ends` and `attempts` are the fence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from inferencehub.gateway.jobs.record import JobRecord, Webhook

LONGEST_S = 86_400.0  # since its end that a job is known for its webhook's sake


class Outbox(Protocol):
    """See the module's text. Both raise `HubError` NOT_READY where the store can't be reached or used."""

    async def claim(
        self, most: int, each: int, places: Mapping[str, int], lease_s: float, now: float
    ) -> list[JobRecord]:
        """Take webhooks that are due. Hosts take turns, so the one with many does not stop the others.

        Args:
            most: how many.
            each: how many of one host.
            places: the same for hosts that have another number.
            lease_s: seconds until they are due again.
            now: Unix time.

        Returns:
            The jobs as they stand, with their webhooks, this attempt counted.
        """

    async def done(self, id: str, webhook: Webhook, due: float | None) -> bool:
        """Keep what came of an attempt.

        Args:
            id: of the job.
            webhook: as it was claimed, with the new state, status and error.
            due: when to try again, in Unix time; None for never.

        Returns:
            False if another attempt, or another end of the job, came meanwhile.
        """
