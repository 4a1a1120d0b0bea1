"""What copies of calls have shown of a version that no caller gets yet."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import msgspec

# How a copy ends: its answer is that of the caller, or another one; it failed; or it was not run, because there was load.
OUTCOMES = ("agreed", "differed", "failed", "dropped")


class ShadowEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule of a model.

    Args:
        version: the one that gets copies, or an alias of it.
        share: of the calls that get a copy, from 0 to 1.
    """

    version: str
    share: Annotated[float, msgspec.Meta(gt=0, le=1)]


class Shadow:
    """See the module's text.

    Args:
        entry: the rule.
        version: the version.
        limit_s: seconds that the run of a copy may take.
    """

    def __init__(self, entry: ShadowEntry, version: str, limit_s: float) -> None:
        self.entry = entry
        self.version = version
        self.limit_s = limit_s
        self.copies: Counter[str] = Counter()
        self._theirs_s = self._own_s = 0.0

    def count(self, outcome: str) -> None:
        """Count a copy, by one of `OUTCOMES`."""
        self.copies[outcome] += 1

    def took(self, theirs_s: float, own_s: float) -> None:
        """Count the runs of a call and its copy, which took so many seconds."""
        self._theirs_s += theirs_s
        self._own_s += own_s

    @property
    def agreement(self) -> float | None:
        """The share of the copies that were answered as their calls; None while none was."""
        compared = self.copies["agreed"] + self.copies["differed"]
        return self.copies["agreed"] / compared if compared else None

    @property
    def latency_ratio(self) -> float | None:
        """The time of the copies' runs, divided by that of their calls; None while there is none."""
        return self._own_s / self._theirs_s if self._theirs_s else None

    def page(self) -> dict[str, object]:
        """How it stands, for the model's page."""
        return {
            "version": self.version,
            "share": self.entry.share,
            "copies": {outcome: self.copies[outcome] for outcome in OUTCOMES},
            "agreement": self.agreement,
            "latency_ratio": self.latency_ratio,
        }
