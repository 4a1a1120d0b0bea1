"""The benchmark against other servers: `make bench` (25 minutes) or `make bench-quick` (two peers, 3 minutes)."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.load.h2load import MISSING, installed
from bench.load.jobs import JOBS
from bench.parts.ceiling import ceilings
from bench.parts.closed_loop import closed_loop
from bench.parts.cores import cores
from bench.parts.direct import direct
from bench.parts.heads import heads
from bench.parts.idle import idle
from bench.parts.overload import overload
from bench.parts.rest import rest
from bench.parts.security import security
from bench.paths import KEPT
from bench.report.machine import machine
from bench.report.plot import draw
from bench.report.results import Results
from bench.report.tables import report
from bench.servers.peer import ALL, BY_NAME
from bench.servers.processes import LOAD, can_pin
from bench.servers.served import serving

QUICK = ("ours", "echo", "fastapi")
# What is measured of ours alone: what the progress line says, and how.
ALONE: dict[str, tuple[str, Callable[[Results, bool], None]]] = {
    "ceilings": ("a model that waits", lambda results, pin: ceilings(results, 3, 10, pin)),
    "overload": ("twice the capacity, for a minute", lambda results, pin: overload(results, 60, pin)),
    "idle": ("10,000 idle connections", lambda results, pin: idle(results, 3, 5, pin)),
    "heads": ("heads that differ", lambda results, pin: heads(results, 5, 2, pin)),
    "security": ("keys, JWTs and TLS", lambda results, pin: security(results, 5, 2, pin)),
    "cores": ("from one core to two", lambda results, pin: cores(results, 2, 3, pin)),
    "rest": ("memory at rest, and starts", lambda results, pin: rest(results, 5, pin)),
}
PARTS = ("direct", *ALONE)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ours, the echo and FastAPI, at fewer jobs")
    parser.add_argument("--peers", help="who takes part, with commas; ours is one of them")
    parser.add_argument("--jobs", help="closed-loop jobs, with commas")
    parser.add_argument("--parts", help=f"other parts, with commas: {', '.join(PARTS)}, or none")
    parser.add_argument(
        "--rounds", type=int, default=3, help="runs of each, of which the median is shown (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=3, help="length of a run (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=KEPT / "results", help="folder of the results (%(default)s)"
    )
    return parser.parse_args()


class Progress:
    """A progress line with the elapsed time and the present measurement."""

    def __init__(self) -> None:
        self.began = perf_counter()

    def __call__(self, what: str) -> None:
        minutes, seconds = divmod(int(perf_counter() - self.began), 60)
        line = f"[{minutes:2}:{seconds:02}] {what}"
        tail = "\r\033[K" if sys.stderr.isatty() else "\n"
        print(f"{line[:110]}", end=tail, file=sys.stderr, flush=True)


def keep(folder: Path, about: Mapping[str, Any], results: Results) -> None:
    """Write all results so far: JSON, tables, pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({**about, **results.as_json()}, indent=1))
    (folder / "results.md").write_text(report(about, results))
    draw(results, folder)


def main() -> int:
    """Run the whole benchmark; exit code 1 if an answer was wrong."""
    options = arguments()
    if not installed():
        print(MISSING, file=sys.stderr)
        return 2
    names = options.peers.split(",") if options.peers else QUICK if options.quick else tuple(BY_NAME)
    chosen = (
        options.jobs.split(",")
        if options.jobs
        else [job.name for job in JOBS if job.quick or not options.quick]
    )
    jobs = [job for job in JOBS if job.name in chosen]
    parts = [] if options.quick else list(PARTS)
    if options.parts:
        parts = [part for part in PARTS if part in options.parts.split(",")]
    pin = can_pin()
    if pin:
        os.sched_setaffinity(0, {LOAD})
    say, results, about = Progress(), Results(), machine()
    if not pin:
        results.notes.append("servers and load were not kept apart: that needs Linux and two cores")
    with serving([peer for peer in ALL if peer.name in names], jobs, pin, results.absent, say) as running:
        about["versions"] |= {served.peer.name: served.versions for served in running if served.versions}
        for served in running:
            results.absent |= {f"{served.peer.name}, {form}": why for form, why in served.refused.items()}
        closed_loop(running, jobs, options.rounds, options.seconds, results, say)
        if "direct" in parts:
            direct(running, options.rounds, options.seconds, results, say)
        keep(options.out, {**about, "pinned": pin}, results)
    for name in parts:
        if name in ALONE:
            title, measure = ALONE[name]
            say(title)
            measure(results, pin)
            keep(options.out, {**about, "pinned": pin}, results)
    print((options.out / "results.md").read_text())
    print(f"kept in {options.out}", file=sys.stderr)
    return 1 if any(results.failed()) else 0


if __name__ == "__main__":
    sys.exit(main())
