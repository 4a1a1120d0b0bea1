"""Measures all peers with all closed-loop jobs, round by round, so a slow minute of the machine affects all peers.

Peers that are not being measured are stopped (SIGSTOP).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import perf_counter, sleep

from bench.load.checker import Checker, asking
from bench.load.h2load import ask_http
from bench.load.jobs import Job
from bench.report.results import Results, Run
from bench.servers.served import Served

BUSY = 0.85  # share of its core from which on the load may be what is measured
CHECKS_A_SECOND = 10.0
Say = Callable[[str], None]


def one_run(served: Served, job: Job, seconds: float) -> Run:
    """A run, after a warm-up on the same connections."""
    questions = served.questions(job)
    often = CHECKS_A_SECOND * (0.1 if job.model == "image" else 1)
    with served.alone(), asking(served.site.port, questions) as ask, Checker(ask, often) as checker:
        seen = ask_http(served.site.port, questions[0], job.clients, seconds, served.group.cpu_seconds)
    figures = {**seen.figures(), "checked": checker.asked}
    return Run(job.name, served.peer.name, figures, {**seen.errors, **checker.wrong})


def closed_loop(
    running: Sequence[Served], jobs: Sequence[Job], rounds: int, seconds: float, results: Results, say: Say
) -> None:
    """All runs, into `results`."""
    for served in running:
        at_rest = {"start_s": served.start_s, "memory_mb": served.memory_mb}
        results.runs.append(Run("at-rest", served.peer.name, at_rest))
    idle(running, results)
    for turn in range(rounds):
        for job in jobs:
            for served in running:
                if served.questions(job):
                    say(f"round {turn + 1} of {rounds}: {job.title}: {served.peer.name}")
                    run = one_run(served, job, seconds)
                    results.runs.append(run)
                    if run.figures["load_busy"] > BUSY:
                        busy = run.figures["load_busy"]
                        results.notes.append(
                            f"{job.name}, {served.peer.name}: the load took {busy:.0%} of its core"
                        )


def idle(running: Sequence[Served], results: Results, seconds: float = 3.0) -> None:
    """The CPU that the other peers would take from the measured one if they were not stopped."""
    with ExitStack() as awake:
        for served in running:
            awake.enter_context(served.alone())
        before, began = [served.group.cpu_seconds() for served in running], perf_counter()
        sleep(seconds)
        elapsed = perf_counter() - began
        for served, then in zip(running, before, strict=True):
            share = (served.group.cpu_seconds() - then) / elapsed
            results.runs.append(Run("idle", served.peer.name, {"cpu_share": share}))
