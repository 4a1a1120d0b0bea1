"""Retries: which jobs of a batch without an answer run again. Pure."""

from __future__ import annotations

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome


def may_run_again(batch: Batch, failure: NotAnswered, at_most_once: bool, budget: RetryBudget) -> list[bool]:
    """For each job of a batch without an answer: whether it goes back to the head of the lane.

    - REFUSED work never started: it always goes back.
    - LOST work goes back the first time at no cost, later at the cost of the retry budget, and never if the model must
      not run twice.
    - FAILED work goes back only from a merged batch, to run alone, and never if the model must not run twice.
    - A job that has some of several answers never goes back: its caller would get them twice.
    """
    if failure.outcome is Outcome.REFUSED:
        return [True] * len(batch.jobs)
    verdicts = []
    for job in batch.jobs:
        if failure.outcome is Outcome.FAILED:
            job.alone = True
            verdicts.append(len(batch.jobs) > 1 and not at_most_once and not job.has_parts)
        elif at_most_once or job.has_parts:
            verdicts.append(False)
        else:
            job.returns += 1
            verdicts.append(job.returns == 1 or budget.spend())
    return verdicts


class RetryBudget:
    """Limits retries to a share of the first tries, so that retries never make an outage worse.

    Args:
        share: retries that one accepted job earns.
        most: retries that can be saved.
    """

    def __init__(self, share: float = 0.2, most: float = 100.0) -> None:
        self.share = share
        self.most = most
        self.saved = most

    def earn(self) -> None:
        """Count an accepted job, which earns a share of a retry."""
        if self.saved < self.most:
            self.saved = min(self.most, self.saved + self.share)

    def spend(self) -> bool:
        """Take one retry; False if none is left."""
        if self.saved < 1.0:
            return False
        self.saved -= 1.0
        return True
