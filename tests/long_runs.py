"""How much of a long run is done: a small part with a fixed seed by default, the whole with LONG_RUNS=1."""

from __future__ import annotations

import os
from typing import Any

WHOLE = bool(os.environ.get("LONG_RUNS"))


def part_of(count: int) -> int:
    """A tenth of `count`, or all of it."""
    return count if WHOLE else count // 10


def examples(count: int) -> dict[str, Any]:
    """Settings of Hypothesis for a property that `count` examples test."""
    return {"max_examples": part_of(count), "derandomize": not WHOLE}
