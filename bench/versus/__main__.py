"""Compares an old and a new checkout in one run: `python -m bench.versus OLD NEW`, 5 minutes, or 1 with `--quick`.

OLD and NEW are directories of this project, each with its own services/ (`git worktree add ../old COMMIT`, then `make
install` there). Both use this program's Python, models and load, and both run from start to end. Each round measures
one after the other, and the next round swaps their order. The median of the rounds' ratios counts, so a slow minute of
the machine affects both. CPU is the CPU time of both tiers for a request; other work on the machine changes it less.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

from bench.load.h2load import MISSING, installed
from bench.servers.processes import can_pin
from bench.servers.stack import Stack, running_stack
from bench.versus.rows import ROWS, Ratios, Row, one_run, table
from bench.versus.trees import checked

ROUNDS, QUICK_ROUNDS = 11, 3
SECONDS = 1.0


def compare(stacks: Sequence[Stack], rows: Sequence[Row], rounds: int, seconds: float) -> dict[str, Ratios]:
    """The ratios of all rows; `stacks` are the old one and the new one."""
    seen = {row.name: Ratios() for row in rows}
    began = perf_counter()
    for turn in range(rounds):
        print(f"[{perf_counter() - began:3.0f} s] round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
        for row in rows:
            order = (0, 1) if turn % 2 == 0 else (1, 0)
            figures = {which: one_run(stacks[which], row, seconds) for which in order}
            seen[row.name].add(row, figures[0], figures[1])
    return seen


def main() -> int:
    """Exit code 1 where the new one is further behind than a row allows, 2 where it cannot be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.versus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", type=Path, help="directory of the checkout before the change")
    parser.add_argument("new", type=Path, help="directory of the checkout with the change")
    parser.add_argument("--quick", action="store_true", help="four rows and three rounds, one minute")
    parser.add_argument("--rows", help=f"only these, with commas: {', '.join(row.name for row in ROWS)}")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, with --quick {QUICK_ROUNDS}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of a run (%(default)s)")
    options = parser.parse_args()
    if not installed():
        print(MISSING, file=sys.stderr)
        return 2
    rows = [row for row in ROWS if row.quick or not options.quick]
    if options.rows:
        rows = [row for row in ROWS if row.name in options.rows.split(",")]
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    pin = can_pin()
    with ExitStack() as running:
        stacks = [
            running.enter_context(running_stack(pin=pin, tree=tree))
            for tree in checked(options.old, options.new)
        ]
        for stack in stacks:
            for model in dict.fromkeys(row.model for row in rows):
                asyncio.run(stack.until_ready(model))
        seen = compare(stacks, rows, rounds, options.seconds)
    print(table(rows, seen))
    return 0 if all(row.keeps(median(seen[row.name].figure)) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
