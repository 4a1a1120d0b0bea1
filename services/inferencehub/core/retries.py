"""Which jobs of a batch that gave no answer run again; pure."""

from __future__ import annotations

from inferencehub.core.batching import Batch, NotAnswered, Outcome, RetryBudget


def may_run_again(batch: Batch, failure: NotAnswered, at_most_once: bool, budget: RetryBudget) -> list[bool]:
    """For each job of a batch that got no answer: whether it goes back to the head of the lane.

    - REFUSED work never started: always back.
    - LOST work goes back the first time for nothing, later out of the retry budget, and never where the model must
      not run twice.
    - FAILED work goes back only out of a merged batch, to be run alone, and never where the model must not run twice.
    """
    if failure.outcome is Outcome.REFUSED:
        return [True] * len(batch.jobs)
    verdicts = []
    for job in batch.jobs:
        if failure.outcome is Outcome.FAILED:
            job.alone = True
            verdicts.append(len(batch.jobs) > 1 and not at_most_once)
        elif at_most_once:
            verdicts.append(False)
        else:
            job.returns += 1
            verdicts.append(job.returns == 1 or budget.spend())
    return verdicts
