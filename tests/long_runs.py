"""The length of long tests: by default a small part with a fixed seed, with LONG_RUNS=1 the whole run."""

from __future__ import annotations

import os
from typing import Any

WHOLE = bool(os.environ.get("LONG_RUNS"))


def part_of(count: int, part: int = 10) -> int:
    """A tenth of `count`, or another part, or all of it."""
    return count if WHOLE else count // part


def examples(count: int, part: int = 10) -> dict[str, Any]:
    """Settings of Hypothesis for a property that `count` examples test, or a part of them."""
    return {"max_examples": part_of(count, part), "derandomize": not WHOLE}
