"""The slots that jobs in the store need, for the demand: from how many wait, and from how long such jobs have run here."""

from __future__ import annotations

from collections.abc import Mapping

from inferencehub.core.values.demand import slots_for_backlog
from inferencehub.gateway.jobs.record import key_of
from inferencehub.gateway.jobs.store import Waiting

LAST = 0.05  # weight of the last job in the usual run time


class Backlog:
    """See the module's text.

    Args:
        drain_s: seconds in which pods are to work off what waits.
    """

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._usual: dict[str, float] = {}

    def ran(self, lane: str, slot_s: float) -> None:
        """A job of a lane took so many seconds of a slot; one that shared its batch took its part of them."""
        usual = self._usual.get(lane, slot_s)
        self._usual[lane] = usual + LAST * (slot_s - usual)

    def slots(self, waiting: Mapping[str, Waiting]) -> dict[tuple[str, str], float]:
        """The slots that are needed, by model and version; version "" for the default one.

        Args:
            waiting: what waits, by lane.
        """
        return {
            key_of(lane): slots_for_backlog(found.jobs, self._usual.get(lane), self._drain_s)
            for lane, found in waiting.items()
        }
