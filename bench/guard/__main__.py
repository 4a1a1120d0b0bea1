"""Fails when a request has become dearer: `python -m bench.guard`; `--record` after a change that was meant.

Two figures of the 3-float job, each against bench/guard/recorded.json:

- `ratio`: what a request costs a bare uvicorn echo in CPU time, to what it costs both our tiers, 64 clients. Others on
  the machine take time from a process but add little to its work, and the ratio takes out how fast the machine is;
  both are asked in turns, and the median turn counts. On a machine with three times as much to do as it has cores, eight
  of these ratios had a standard deviation of 7%, so only a loss of 15% is one.
- `calls`: Python's function calls a request, one client (bench/guard/calls.py). It does not see C, but other work does not
  move it by 1%, so a rise of 5% is one. It belongs to a version of Python, and is skipped on another.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from statistics import median
from typing import Any

from bench.guard import calls
from bench.load.h2load import MISSING, installed
from bench.load.jobs import JOBS
from bench.parts.closed_loop import one_run
from bench.paths import ROOT
from bench.report.machine import machine
from bench.servers.peer import BY_NAME
from bench.servers.processes import LOAD, can_pin
from bench.servers.served import serving

RECORDED = ROOT / "bench" / "guard" / "recorded.json"
LOST, RISEN = 0.15, 0.05  # of the ratio, of the calls
TURNS, SECONDS = 14, 1.0
JOB = next(job for job in JOBS if job.name == "three-64")


def cpu_ratios(turns: int, seconds: float) -> list[float]:
    """The ratio of each turn.

    Raises:
        SystemExit: where one of both does not serve, or an answer is wrong.
    """
    pin, absent = can_pin(), dict[str, str]()
    before = os.sched_getaffinity(0) if pin else set[int]()
    if pin:
        os.sched_setaffinity(0, {LOAD})
    cost: dict[str, list[float]] = {"ours": [], "echo": []}
    with serving([BY_NAME[name] for name in cost], [JOB], pin, absent, lambda _: None) as running:
        if absent:
            raise SystemExit(f"not measured: {absent}")
        for _ in range(turns):
            for served in running:
                run = one_run(served, JOB, seconds)
                if run.errors:
                    raise SystemExit(f"{served.peer.name}: {run.errors}")
                cost[served.peer.name].append(run.figures["cpu_us"])
    if pin:
        os.sched_setaffinity(0, before)
    medians = ", ".join(f"{name} {median(values):.1f}" for name, values in cost.items())
    print(f"microseconds of CPU a request: {medians}")
    return [echo / ours for ours, echo in zip(cost["ours"], cost["echo"], strict=True)]


def verdicts(seen: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Of each figure, whether it is good enough, and the sentence that says so."""
    lost = 1 - seen["ratio"] / recorded["ratio"]
    said = [(lost <= LOST, f"ratio {seen['ratio']:.4f}, recorded {recorded['ratio']:.4f}: {-lost:+.1%}")]
    pythons = [about["versions"]["python"].rpartition(".")[0] for about in (seen, recorded)]
    if pythons[0] != pythons[1]:
        return [*said, (True, f"calls not compared: recorded on Python {pythons[1]}, this is {pythons[0]}")]
    risen = seen["calls"] / recorded["calls"] - 1
    sentence = f"calls {seen['calls']:.0f}, recorded {recorded['calls']:.0f}: {risen:+.1%}"
    return [*said, (risen <= RISEN, sentence)]


def main() -> int:
    """Exit code 1 where a figure is worse than is allowed, 2 where it cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument(
        "--record", action="store_true", help="write the figures down instead of comparing them"
    )
    parser.add_argument("--turns", type=int, default=TURNS, help="how often each is asked (%(default)s)")
    options = parser.parse_args()
    if not installed():
        print(MISSING, file=sys.stderr)
        return 2
    about = machine()
    counted = calls.measure()
    ratios = cpu_ratios(options.turns, SECONDS)
    seen = {"ratio": round(median(ratios), 4), "calls": round(counted, 1), **about}
    print("ratio turn by turn: " + " ".join(f"{one:.3f}" for one in ratios))
    if options.record:
        RECORDED.write_text(json.dumps(seen, indent=1) + "\n")
        print(f"recorded ratio {seen['ratio']} and {seen['calls']} calls in {RECORDED}")
        return 0
    judged = verdicts(seen, json.loads(RECORDED.read_text()))
    for good, sentence in judged:
        print(f"{'ok ' if good else 'WORSE'} {sentence}")
    return 0 if all(good for good, _ in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
