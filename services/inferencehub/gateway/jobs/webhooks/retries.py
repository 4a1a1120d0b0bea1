"""What follows an attempt to deliver: pure rules, without a clock."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import NamedTuple

# Seconds between attempts; behind the last one it is given up, about five hours after the job's end.
PAUSES_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 14_400.0)
JITTER = (
    0.2  # a pause is so much longer at most, so that those of one moment do not all come back at one moment
)
LONGEST_RETRY_AFTER_S = 3600.0
GONE = 410


class Answer(NamedTuple):
    """What a receiver said.

    Args:
        status: HTTP status; 0 for no answer.
        error: why there is none; "" if there is.
        retry_after: the header, "" without it.
        final: whether the same would come again at each attempt.
    """

    status: int
    error: str = ""
    retry_after: str = ""
    final: bool = False

    @property
    def taken(self) -> bool:
        """Whether the receiver has taken the message."""
        return 200 <= self.status < 300


def next_attempt(answer: Answer, attempts: int, now: float, chance: float) -> float | None:
    """When to try again, in Unix time; None for never.

    Args:
        answer: of the last attempt.
        attempts: that were made.
        now: Unix time.
        chance: from 0 to 1.
    """
    if answer.taken or answer.final or answer.status == GONE or attempts > len(PAUSES_S):
        return None
    pause = PAUSES_S[attempts - 1] * (1 + JITTER * chance)
    return now + max(pause, min(seconds_of(answer.retry_after, now), LONGEST_RETRY_AFTER_S))


def seconds_of(retry_after: str, now: float) -> float:
    """Retry-After as seconds from now (RFC 9110, 10.2.3); 0 for what it is not."""
    if retry_after.isascii() and retry_after.isdecimal() and len(retry_after) < 10:
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0
