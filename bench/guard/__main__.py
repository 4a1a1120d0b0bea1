"""Fails if a request costs more than recorded: `python -m bench.guard`; use `--record` after an intended change.

It compares figures of the 3-float job with the record for this version of Python (record.py, recorded.json):

- `calls`: Python function calls for each request (calls.py), in both tiers, with 1 client and with 64 clients. The
  calls in the gateway with 64 clients also have a fixed limit. These counts do not include work in C, but other work on
  the machine hardly changes them. So a rise of 5% fails.
- `ratio`: the CPU time of a request in a bare uvicorn echo, divided by its CPU time in both our tiers, with 64 clients.
  The ratio does not depend on the machine's speed. Echo and tiers are measured in turns, and the median turn counts. On
  a machine with three times more work than cores, eight of these ratios had a standard deviation of 7%. So only a loss
  of 25% fails.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from statistics import median
from typing import Any

from bench.guard import calls, record
from bench.guard.cpu import cpu_ratios
from bench.load.h2load import MISSING, installed
from bench.report.machine import machine

TURNS, SECONDS = 14, 1.0


def measured(turns: int) -> dict[str, Any]:
    """All figures of this run, with the machine and the versions."""
    about = machine()
    counted = {str(clients): {**asdict(each), "both": each.both} for clients, each in calls.measure().items()}
    ratios = cpu_ratios(turns, SECONDS)
    print("ratio turn by turn: " + " ".join(f"{one:.3f}" for one in ratios))
    return {"ratio": round(median(ratios), 4), "calls": counted, **about}


def main() -> int:
    """Run the guard; exit code 1 if a figure is worse than allowed, 2 if it cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument(
        "--record", action="store_true", help="write the figures down instead of comparing them"
    )
    parser.add_argument("--because", default="", help="why a record may become worse")
    parser.add_argument("--turns", type=int, default=TURNS, help="how often each is asked (%(default)s)")
    options = parser.parse_args()
    if not installed():
        print(MISSING, file=sys.stderr)
        return 2
    seen = measured(options.turns)
    if options.record:
        record.write(seen, options.because)
        print(f"recorded for Python {record.python_of(seen)} in {record.RECORDED}")
    judged = list(record.verdicts(seen, record.read()))
    for good, sentence in judged:
        print(f"{'ok ' if good else 'WORSE'} {sentence}")
    return 0 if all(good for good, _ in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
