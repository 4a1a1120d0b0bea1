"""Retries: which jobs of a batch without an answer run again. Pure.

A request can take its whole pod along: a model that kills its process, or that needs more memory than the pod has. Then
the jobs that ran beside it are lost too, and nobody can tell which one was the cause. So each of them is tried once
more by itself: in a batch of its own, at a pod that runs no other job that was lost. If that pod is lost as well, the
job was the cause, and is not tried a third time. So one request never costs more than `MOST_LOSSES` pods.
"""

from __future__ import annotations

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome
from inferencehub.core.lane.job import Job
from inferencehub.core.values.errors import HubError, Kind

MOST_LOSSES = 2  # pods that may be lost while they run a job


def may_run_again(batch: Batch, failure: NotAnswered, at_most_once: bool, budget: RetryBudget) -> list[bool]:
    """For each job of a batch without an answer: whether it goes back to the head of the lane.

    - REFUSED work never started: it always goes back.
    - LOST work goes back once, to run by itself. The retry budget pays for each second run that is lost as well; while
      it is empty, lost work does not go back. Lost work never goes back if the model must not run twice, or if its
      caller counts what is lost: that must be written down before the second run begins.
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
            job.losses += 1
            if job.losses >= MOST_LOSSES:
                budget.spend()
            verdicts.append(job.losses < MOST_LOSSES and budget.saved >= 1.0 and not job.counted)
    return verdicts


def why_not(job: Job, failure: NotAnswered) -> HubError:
    """The error of a job that does not run again: the failure's, or that the job has cost enough pods."""
    if job.losses < MOST_LOSSES:
        return failure.error
    detail = (
        f"model '{job.request.model}': {MOST_LOSSES} pods were lost while they ran this request, the second "
        "time alone; it is not tried a third time"
    )
    return HubError(Kind.MODEL_FAILED, detail)


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
