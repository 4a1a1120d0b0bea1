"""Which jobs of a batch that gave no answer run again; pure."""

from __future__ import annotations

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome


def may_run_again(batch: Batch, failure: NotAnswered, at_most_once: bool, budget: RetryBudget) -> list[bool]:
    """For each job of a batch that got no answer: whether it goes back to the head of the lane.

    - REFUSED work never started: always back.
    - LOST work goes back the first time for nothing, later out of the retry budget, and never where the model must
      not run twice.
    - FAILED work goes back only out of a merged batch, to be run alone, and never where the model must not run twice.
    - A job that has had one of several answers never goes back: its caller would get that one twice.
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
    """How many second tries there may be: a share of the first ones, so that retries never multiply an outage.

    Args:
        share: retries earned by one accepted job.
        most: retries that can be saved up.
    """

    def __init__(self, share: float = 0.2, most: float = 100.0) -> None:
        self.share = share
        self.most = most
        self.saved = most

    def earn(self) -> None:
        """Count an accepted job."""
        if self.saved < self.most:
            self.saved = min(self.most, self.saved + self.share)

    def spend(self) -> bool:
        """Take one retry; False where none is left."""
        if self.saved < 1.0:
            return False
        self.saved -= 1.0
        return True
