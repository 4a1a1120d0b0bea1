"""The results as Markdown: the goals, then a table for each job, one row a peer, medians of the runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.load.grpc_calls import CALLS
from bench.load.jobs import JOBS
from bench.report.cores_table import cores_jobs, cores_table
from bench.report.goals import goal_table
from bench.report.results import Results

TITLES = {job.name: job.title for job in JOBS} | {call.job: call.title for call in CALLS}
ALONE = {
    "ceiling-1-pod": "A model that waits 500 ms: 1 pod of 100 slots, 200 clients",
    "ceiling-3-pods": "The same: 3 pods, 600 clients",
    "ceiling-2-gateways": "The same: 3 pods behind 2 gateways, 600 clients",
    "overload": "Twice the capacity, open loop, deadline 1 s",
    "idle-10000": "10,000 idle connections beside 64 busy ones",
    "heads": "3 floats, 64 clients: heads that all differ, and heads with credentials, beside equal ones",
    "security-three": "3 floats, 64 clients: keys, JWTs and TLS",
    "security-bytes": "600 KB of bytes, 64 clients: keys, JWTs and TLS",
    "rest": "Memory at rest, and starts",
}
SMALL = 100.0  # from here on no decimals are shown


def report(about: Mapping[str, Any], results: Results) -> str:
    """All of it."""
    return "\n".join(lines(about, results)) + "\n"


def lines(about: Mapping[str, Any], results: Results) -> Iterator[str]:
    """Machine, goals, tables, and what a reader must know."""
    system = about["machine"]
    yield f"{system['cpu']}, {system['cores']} cores, {system['system']}, {about['date']}, load {system['load_average'][0]}"
    yield from ("", "### Goals", "", *goal_table(results))
    for job, title in TITLES.items():
        if results.peers(job):
            yield from ("", f"### {title}", "", *job_table(job, results))
    for job, title in ALONE.items():
        if results.peers(job):
            yield from ("", f"### {title}", "", *figures_table(job, results))
    if cores_jobs(results):
        yield from ("", "### From one core to two", "", *cores_table(results))
    if results.peers("at-rest"):
        yield from ("", "### Peers at rest", "", *rest_table(results))
    if absent := results.absent:
        yield from ("", "### Not measured", "", *[f"- {name}: {why}" for name, why in absent.items()])
    failed = [f"- {run.job}, {run.peer}: {run.errors}" for run in results.failed()]
    if failed:
        yield from ("", "### Errors", "", *failed)
    if results.notes:
        yield from ("", "### Notes", "", *[f"- {note}" for note in dict.fromkeys(results.notes)])


def job_table(job: str, results: Results) -> Iterator[str]:
    """The results of all peers in a job: ours first, then the fastest. Ratios are ours divided by theirs."""
    yield "| | requests/s | spread | ours is | p50 ms | p99 ms | CPU µs a request | by CPU ours is | errors |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    ours, our_cpu = results.median(job, "ours", "rate"), results.median(job, "ours", "cpu_us")
    for peer in ranked(job, results):
        rate, p50, p99, cpu = (
            results.median(job, peer, name) or 0.0 for name in ("rate", "p50_ms", "p99_ms", "cpu_us")
        )
        errors = sum(sum(run.errors.values()) for run in results.of(job, peer))
        other = peer != "ours"
        ratio = f"{ours / rate:.2f}x" if other and ours and rate else ""
        by_cpu = f"{cpu / our_cpu:.2f}x" if other and our_cpu else ""
        yield (
            f"| {peer} | {shown(rate)} | {results.spread(job, peer, 'rate'):.0%} | {ratio} | {p50:.2f} | {p99:.2f} "
            f"| {cpu:,.0f} | {by_cpu} | {errors} |"
        )


def ranked(job: str, results: Results) -> list[str]:
    """The peers in a job: ours first, then the fastest."""
    return sorted(
        results.peers(job), key=lambda peer: (peer != "ours", -(results.median(job, peer, "rate") or 0))
    )


def figures_table(job: str, results: Results) -> Iterator[str]:
    """Each figure of a job of ours alone."""
    yield "| figure | median | spread |"
    yield "|---|---:|---:|"
    for figure in results.of(job, "ours")[0].figures:
        value = results.median(job, "ours", figure) or 0.0
        yield f"| {figure} | {shown(value)} | {results.spread(job, 'ours', figure):.0%} |"


def rest_table(results: Results) -> Iterator[str]:
    """Start and memory of each peer with all models of the bench, and what it takes while it is not asked."""
    yield "| | start s | memory MB | core while idle |"
    yield "|---|---:|---:|---:|"
    for peer in results.peers("at-rest"):
        start, memory = (results.median("at-rest", peer, name) or 0.0 for name in ("start_s", "memory_mb"))
        yield f"| {peer} | {start:.1f} | {memory:,.0f} | {results.median('idle', peer, 'cpu_share') or 0.0:.1%} |"


def shown(value: float) -> str:
    """A number with as many digits as matter."""
    return f"{value:,.0f}" if value >= SMALL else f"{value:.3g}"
