"""The sum over the gateways of a release, with how old and how complete it is. Pure: time comes in as a number.

Each round brings what every gateway needed in the last second. Rounds are summed and the mean of those of the last
WINDOW_S is the reading: so the window belongs to the sum, and a gateway that comes or goes takes no past with it.

- A round is complete if every gateway that takes requests has answered. One that drains counts as long as it answers.
- A gateway that does not answer may have work that nobody sees: the round is then, for each model, the larger of what
  the others need and of the last complete round.
- PATIENCE_S after the last complete round there is no reading, and an autoscaler without a reading holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from inferencehub.core.values.demand import Model, Report, by_model, by_pool

WINDOW_S = 15.0
LEAST_S = 4.0  # of rounds before there is a reading: one second is no mean
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Round:
    """One look at all gateways of a release.

    Args:
        at: when, in seconds.
        gateways: those that take requests.
        answered: how many of them answered.
        told: pods' worth of work by model, of those that answered.
        needs: the same, with what those that are silent may need.
    """

    at: float
    gateways: int
    answered: int
    told: dict[Model, float]
    needs: dict[Model, float]

    @property
    def complete(self) -> bool:
        """Whether it holds the work of every gateway. That of none is not known."""
        return 0 < self.gateways == self.answered


@dataclass(frozen=True, slots=True)
class Reading:
    """The demand for the pools of a release.

    Args:
        pools: pods' worth of work by pool, the mean over `window_s`.
        now: the same in the last round alone.
        age_s: seconds since the last complete round.
        gateways: those that take requests, and `answered` of them.
    """

    pools: dict[str, float]
    now: dict[str, float]
    window_s: float
    age_s: float
    gateways: int
    answered: int

    @property
    def complete(self) -> bool:
        """Whether the last round was."""
        return 0 < self.gateways == self.answered


class Total:
    """The rounds of one release."""

    def __init__(self) -> None:
        self._rounds: deque[Round] = deque()
        self._complete: Round | None = None

    def add(self, at: float, gateways: int, answered: int, reports: Sequence[Report]) -> None:
        """Take a round: how many gateways take requests, how many of them answered, and all answers."""
        told = by_model(reports)
        found = Round(at, gateways, answered, told, told)
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
        """What gateways said in the last round, by pool: so much there is, whoever was silent."""
        last = self._rounds[-1] if self._rounds else None
        return by_pool(last.told) if last is not None and at - last.at < LEAST_S else {}

    def read(self, at: float) -> Reading | None:
        """The reading at a moment; None where there is none to be trusted."""
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
