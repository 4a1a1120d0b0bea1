"""Load shedding: refuses calls that would not be answered in time. Pure: time comes in as a number.

Suppose that a queue gets more calls than it can serve, and all callers give up after the same time. In order of
arrival, each call would then be served just too late: all work is thrown away, and no caller gets an answer. Two rules
prevent this:

- A call that would wait beyond its deadline is refused when it comes, so that its caller knows at once.
- A call with less time left than a run takes is dropped before it runs. While other calls wait, "a run" is the usual
  run time; else it is the fastest recent one.

The wait is estimated from the queue: the number of calls that have left since its oldest call came, and the time since
then. So the estimate looks back as far as the queue is long. There is no estimate while no calls leave.
"""

from __future__ import annotations

from math import inf

from inferencehub.core.values.errors import HubError, Kind

LEAST_LEFT = 8  # calls that must have left before there is an estimate
SLOWER = 1.05  # factor by which the fastest run time may grow with each run
WEIGHT = 0.1  # weight of the last run in the usual run time
SPARE = 0.1  # safety margin, as a share of the time that a call has left
# How long a run time is valid, at least; without an end, one slow run could make the lane refuse all calls for ever.
FRESH_S = 1.0


class RunTimes:
    """The fastest and the usual time of recent runs, in seconds."""

    __slots__ = ("_at", "_fastest", "_usual")

    def __init__(self) -> None:
        self._fastest = self._usual = 0.0
        self._at = -inf

    def ran(self, seconds: float, now: float) -> None:
        """A run was answered after `seconds`; `now` is on the lane's clock."""
        if self._is_known(now):
            self._fastest = min(seconds, self._fastest * SLOWER)
            self._usual += WEIGHT * (seconds - self._usual)
        else:
            self._fastest = self._usual = seconds
        self._at = now

    def least(self, now: float) -> float:
        """The fastest recent run time in seconds; 0 if it is not known."""
        return self._fastest if self._is_known(now) else 0.0

    def usual(self, now: float) -> float:
        """The usual run time in seconds; 0 if it is not known."""
        return self._usual if self._is_known(now) else 0.0

    def _is_known(self, now: float) -> bool:
        return now - self._at <= max(FRESH_S, 2 * self._fastest)


def too_late(wait: float, run: float, left: float) -> bool:
    """Whether a call would be answered after its deadline, or too close to it.

    Args:
        wait: estimated seconds until the call leaves; 0 if there is no estimate.
        run: seconds that a run takes.
        left: seconds until the call's deadline.
    """
    return wait > 0 and wait + run > (1 - SPARE) * left


def foretold(ahead: int, left: int, seconds: float) -> float:
    """Estimated seconds until a call that comes now leaves; 0 if there is no estimate.

    Args:
        ahead: the number of calls that wait before it.
        left: the number of calls that have left since the oldest waiting call came.
        seconds: seconds since the oldest waiting call came.
    """
    return ahead * seconds / left if left >= LEAST_LEFT else 0.0


def check_wait(model: str, wait: float, run: float, left: float) -> None:
    """Refuse a call that would be answered too late, see `too_late`.

    Raises:
        HubError: BUSY.
    """
    if too_late(wait, run, left):
        raise in_vain(model, wait, left)


def in_vain(model: str, wait: float, left: float) -> HubError:
    """The error for a call that would not be answered in time."""
    detail = f"model '{model}' is busy: calls wait {wait:.2g} s for it, and the deadline is in {left:.2g} s"
    return HubError(Kind.BUSY, detail)
