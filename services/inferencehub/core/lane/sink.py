"""How whoever asked is told what became of a job of a lane."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from inferencehub.core.lane.job import Job
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse

logger = logging.getLogger(__name__)

# Is given a job's answer, or its error, or None where its caller has left.
Tell = Callable[[InferResponse | HubError | None], None]


def answer_all(answers: Sequence[tuple[Tell, InferResponse]]) -> None:
    """Tell each; what goes wrong with one is no matter of the others."""
    for tell, response in answers:
        try:
            tell(response)
        except Exception:
            logger.exception("answer not delivered")


def resolve(future: asyncio.Future[InferResponse], outcome: InferResponse | HubError | None) -> None:
    """Put a job's end into the future of who awaits it, if they still do."""
    if future.done():
        return
    if outcome is None:
        future.cancel()
    elif isinstance(outcome, InferResponse):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)


def deadline_passed(job: Job) -> HubError:
    """The error of a job that was not answered in time."""
    return HubError(
        Kind.DEADLINE, f"model '{job.request.model}' gave no answer before the request's deadline"
    )


def in_vain(job: Job, wait: float, left: float) -> HubError:
    """The error of a job that would not be answered in time."""
    detail = f"model '{job.request.model}' is busy: calls wait {wait:.2g} s for it, and the deadline is in {left:.2g} s"
    return HubError(Kind.BUSY, detail)
