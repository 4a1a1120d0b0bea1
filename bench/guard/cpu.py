"""The CPU time of a request, compared with a bare uvicorn echo in the same run."""

from __future__ import annotations

import os
from statistics import median

from bench.load.jobs import JOBS
from bench.parts.closed_loop import one_run
from bench.servers.peer import BY_NAME
from bench.servers.processes import LOAD, can_pin
from bench.servers.served import serving

JOB = next(job for job in JOBS if job.name == "three-64")


def cpu_ratios(turns: int, seconds: float) -> list[float]:
    """The ratio of each turn.

    Raises:
        SystemExit: if one of both does not serve, or an answer is wrong.
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
