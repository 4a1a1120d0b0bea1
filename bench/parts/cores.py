"""From one core to two, as processes: `python -m bench.parts.cores`.

It compares one gateway and one pod on one core with two gateways and two pods: a pair on each core, and both pods
behind both gateways. In the first case, the load has the second core for itself. In the second case, it needs some of
both cores. So a model that computes almost nothing is compared by the CPU time of a request in the servers. Models that
compute are compared by their rate, too, and also with one pod of two instances that may use both cores.

The shapes are measured in turns; shapes that are not being measured are stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from bench.load.checker import Checker, asking
from bench.load.h2load import MISSING, ask_ports, installed
from bench.load.questions import predict
from bench.report.cores_table import PREFIX, cores_table
from bench.report.results import Results, Run
from bench.servers.processes import LOAD, can_pin, on_cores
from bench.servers.served import until_awake
from bench.servers.shapes import ONE, TWO, WIDE, Running, Shape, started

SETTLE_S = 1.5  # longer than a heartbeat
CHECKS_A_SECOND = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """A model, how many ask it, and in which shapes."""

    model: str
    clients: int
    shapes: Sequence[Shape]

    @property
    def name(self) -> str:
        """Its name in the results."""
        return f"{PREFIX}{self.model}-{self.clients}"


JOBS = (
    Job("three", 64, (ONE, TWO)),
    Job("three", 128, (ONE, TWO)),
    Job("matmul", 16, (ONE, TWO, WIDE)),
    Job("loop", 16, (ONE, TWO, WIDE)),
)


def one_run(running: Running, job: Job, seconds: float) -> Run:
    """Wake a shape, ask it through all its gateways, and make it stand still again."""
    questions = predict("three", job.model)
    running.group.resume()
    try:
        sleep(SETTLE_S)
        for port in running.ports:
            until_awake(port, questions[0], running.group)
        before = running.batches(job.model)
        with on_cores(running.shape.load), ExitStack() as checks:
            asks = [checks.enter_context(asking(port, questions)) for port in running.ports]
            checkers = [checks.enter_context(Checker(ask, CHECKS_A_SECOND)) for ask in asks]
            seen = ask_ports(running.ports, questions[0], job.clients, seconds, running.group.cpu_seconds)
        after = running.batches(job.model)
        memory = running.group.memory_mb()
    finally:
        running.group.pause()
    rows = {
        f"{tier}_rows": (total - before[tier][0]) / max(1.0, count - before[tier][1])
        for tier, (total, count) in after.items()
    }
    errors = dict(seen.errors)
    for checker in checkers:
        errors |= checker.wrong
    figures = {**seen.figures(), **rows, "memory_mb": memory, "cores": len(running.shape.cores)}
    return Run(job.name, running.shape.name, figures, errors)


def cores(results: Results, rounds: int, seconds: float, pin: bool) -> None:
    """All jobs in all their shapes, round by round, into `results`."""
    if not pin:
        results.absent["cores"] = "that needs Linux and two cores"
        return
    models = list(dict.fromkeys(job.model for job in JOBS))
    with tempfile.TemporaryDirectory(prefix="hub-cores-") as folder, ExitStack() as stacks:
        shapes: dict[str, Running] = {}
        for index, shape in enumerate((ONE, TWO, WIDE)):
            place = Path(folder, str(index))
            shapes[shape.name] = stacks.enter_context(started(shape, place, models))
            shapes[shape.name].group.pause()
        for _ in range(rounds):
            for job in JOBS:
                results.runs += [one_run(shapes[shape.name], job, seconds) for shape in job.shapes]


def main() -> int:
    """Exit code 1 where an answer was wrong, 2 where it cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts.cores", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a run (%(default)s)")
    options = parser.parse_args()
    if not installed():
        print(MISSING, file=sys.stderr)
        return 2
    results, pin = Results(), can_pin()
    if pin:
        os.sched_setaffinity(0, {LOAD})
    cores(results, options.rounds, options.seconds, pin)
    print("\n".join(cores_table(results)))
    failed = [f"{run.job}, {run.peer}: {run.errors}" for run in results.failed()]
    print("\n".join([*failed, *results.absent.values()]))
    return 2 if results.absent else 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
