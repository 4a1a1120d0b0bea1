"""A table of the gain from more cores: for each job, all shapes compared with the first one, which has one core."""

from __future__ import annotations

from collections.abc import Iterator

from bench.report.results import Results

PREFIX = "cores-"  # of the jobs: cores-MODEL-CLIENTS
HEAD = (
    "| model, clients | shape | requests/s | to 1 core | CPU µs a request | servers alone to 1 core "
    "| rows a call | rows a run | p50 ms | p99 ms | memory MB |"
)
FIGURES = ("rate", "cpu_us", "gateway_rows", "inference_rows", "p50_ms", "p99_ms", "memory_mb", "cores")


def cores_jobs(results: Results) -> list[str]:
    """The jobs that were run, in order."""
    return list(dict.fromkeys(run.job for run in results.runs if run.job.startswith(PREFIX)))


def cores_table(results: Results) -> Iterator[str]:
    """A row for each job and shape, medians.

    "Servers alone" is what the shape would do, by the CPU that a request takes, if its cores had nothing else to do.
    """
    yield HEAD
    yield "|---|---|" + "---:|" * 9
    for job in cores_jobs(results):
        model, _, clients = job.removeprefix(PREFIX).rpartition("-")
        shapes = results.peers(job)
        for shape in shapes:
            rate, cpu, rows, in_pod, p50, p99, memory, cores = (
                results.median(job, shape, figure) or 0.0 for figure in FIGURES
            )
            first = results.median(job, shapes[0], "rate") or rate
            first_cpu = results.median(job, shapes[0], "cpu_us") or cpu
            yield (
                f"| {model}, {clients} | {shape} | {rate:,.0f} | {rate / first:.2f}x | {cpu:,.0f} "
                f"| {cores * first_cpu / cpu:.2f}x | {rows:.1f} | {in_pod:.1f} | {p50:.1f} | {p99:.1f} "
                f"| {memory:.0f} |"
            )
