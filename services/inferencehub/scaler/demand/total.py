"""The demand summed over the gateways of a release, with its age and completeness. Pure: takes the time as a number.

In each round, every gateway reports its demand of the last second, and the reports are summed. The reading is the mean
of the sums of the last WINDOW_S. Because the mean is taken after the sum, gateways may come and go at any time.

- A round is complete if every gateway that accepts requests has answered. A draining gateway counts if it answers.
- A gateway that does not answer may have work. So for each model, an incomplete round counts as the larger of two
  numbers: the demand that the other gateways report, and the demand in the last complete round.
- There is no reading when the last complete round is older than PATIENCE_S. An autoscaler without a reading changes
  nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from inferencehub.core.values.demand import Model, Report, by_model, by_pool

WINDOW_S = 15.0
LEAST_S = 4.0  # seconds of rounds that a reading needs: the mean of one second would not be enough
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Round:
    """One round of reports of all gateways of a release.

    Args:
        at: its time, in seconds.
        gateways: number of gateways that accept requests.
        answered: how many of them answered.
        told: the reported demand by model, in pods.
        needs: the same, with an estimate for gateways that did not answer.
    """

    at: float
    gateways: int
    answered: int
    told: dict[Model, float]
    needs: dict[Model, float]

    @property
    def complete(self) -> bool:
        """Whether it contains the reports of all gateways. A round without any gateway is not complete."""
        return 0 < self.gateways == self.answered


@dataclass(frozen=True, slots=True)
class Reading:
    """The demand for the pools of a release.

    Args:
        pools: the demand by pool, in pods, mean over `window_s`.
        now: the demand by pool in the last round only.
        window_s: seconds over which the mean was taken.
        age_s: seconds since the last complete round.
        gateways: number of gateways that accept requests.
        answered: how many of them answered in the last round.
    """

    pools: dict[str, float]
    now: dict[str, float]
    window_s: float
    age_s: float
    gateways: int
    answered: int

    @property
    def complete(self) -> bool:
        """Whether the last round was complete."""
        return 0 < self.gateways == self.answered


class Heard(NamedTuple):
    """What has been heard of the gateways of a release, whether or not that makes a reading.

    Args:
        age_s: seconds since the last complete round; since the first one if there was none.
        gateways, answered: of the last round, see `Round`.
    """

    age_s: float
    gateways: int
    answered: int


class Total:
    """The rounds of one release."""

    def __init__(self) -> None:
        self._rounds: deque[Round] = deque()
        self._complete: Round | None = None
        self._since = 0.0  # the time of the last complete round, or of the first one

    def add(self, at: float, gateways: int, answered: int, reports: Sequence[Report]) -> None:
        """Add a round.

        Args:
            at: the present time, in seconds.
            gateways: number of gateways that accept requests.
            answered: how many of them answered.
            reports: all reports, also those of gateways that drain.
        """
        told = by_model(reports)
        found = Round(at, gateways, answered, told, told)
        if found.complete or not self._rounds:
            self._since = at
        if found.complete:
            self._complete = found
        elif self._complete is not None:
            last = self._complete.needs
            needs = {key: max(told.get(key, 0.0), last.get(key, 0.0)) for key in told.keys() | last.keys()}
            found = Round(at, gateways, answered, told, needs)
        self._rounds.append(found)
        while self._rounds[0].at <= at - WINDOW_S:
            self._rounds.popleft()

    def told(self, at: float) -> dict[str, float]:
        """The demand by pool that gateways reported in the last round, in pods. The real demand may be larger."""
        last = self._rounds[-1] if self._rounds else None
        return by_pool(last.told) if last is not None and at - last.at < LEAST_S else {}

    def heard(self, at: float) -> Heard | None:
        """What has been heard until a time in seconds; None before the first round."""
        if not self._rounds:
            return None
        last = self._rounds[-1]
        return Heard(at - self._since, last.gateways, last.answered)

    def read(self, at: float) -> Reading | None:
        """The reading at a time in seconds; None if there are too few rounds, or no complete one for too long."""
        rounds = [one for one in self._rounds if one.at > at - WINDOW_S]
        if not rounds or self._complete is None or at - self._complete.at > PATIENCE_S:
            return None
        window_s = at - rounds[0].at
        if window_s < LEAST_S:
            return None
        models = {key for one in rounds for key in one.needs}
        means = {key: sum(one.needs.get(key, 0.0) for one in rounds) / len(rounds) for key in models}
        last = rounds[-1]
        age_s = at - self._complete.at
        return Reading(by_pool(means), by_pool(last.needs), window_s, age_s, last.gateways, last.answered)
