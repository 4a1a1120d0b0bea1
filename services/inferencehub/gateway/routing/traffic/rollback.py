"""When a new version gets no more calls: its calls of the last seconds fail too often, or take too long.

Pure: time comes in as a number. The 99th percentile is above a bound if more than one call in a hundred took longer, so
counts are enough, and no times are kept.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated

import msgspec

PARTS = 10  # of the window; what is older goes part by part
SLOW_SHARE = 0.01  # beyond the 99th percentile


class RollbackEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule of a model.

    Args:
        version: the one that is watched, or an alias of it.
        error_share: of its calls may fail, from 0 to 1; None for any.
        p99_ms: 99 % of those that succeed may take so long, from entering the queue to the answer, in ms; None for any time.
        calls: how many of the last seconds must have ended before anything is decided.
        window_s: how many seconds these are.
    """

    version: str
    error_share: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    p99_ms: Annotated[float, msgspec.Meta(gt=0, le=3.6e6)] | None = None
    calls: Annotated[int, msgspec.Meta(ge=10, le=10**6)] = 100
    window_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 60.0


class Part:
    """The calls of a part of the window."""

    __slots__ = ("calls", "failed", "number", "slow")

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls = self.failed = self.slow = 0


class Watch:
    """Watches a version.

    Args:
        entry: what it may do.
    """

    def __init__(self, entry: RollbackEntry) -> None:
        self._entry = entry
        self._step_s = entry.window_s / PARTS
        self._parts: deque[Part] = deque(maxlen=PARTS)

    def ended(self, now: float, failed: bool, seconds: float) -> str:
        """Count a call; why the version must get no more of them, as a sentence, "" if it may.

        Args:
            now: the time in seconds.
            failed: whether the call failed.
            seconds: how long it took.
        """
        entry, parts = self._entry, self._parts
        number = int(now / self._step_s)
        if not parts or parts[-1].number != number:
            parts.append(Part(number))
        while parts[0].number <= number - PARTS:
            parts.popleft()
        part = parts[-1]
        part.calls += 1
        part.failed += failed
        part.slow += not failed and entry.p99_ms is not None and seconds * 1000 > entry.p99_ms
        calls = sum([one.calls for one in parts])
        if calls < entry.calls:
            return ""
        broken, slow = sum([one.failed for one in parts]), sum([one.slow for one in parts])
        of = f"of {calls} calls in {entry.window_s:g} s"
        if entry.error_share is not None and broken > entry.error_share * calls:
            return f"{broken} {of} failed, at most the share {entry.error_share:g} may"
        if slow > SLOW_SHARE * (calls - broken):
            return f"{slow} {of} took longer than {entry.p99_ms:g} ms, at most one in a hundred may"
        return ""
