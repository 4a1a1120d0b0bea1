"""Results for the tests of tables, goals and plots."""

from __future__ import annotations

from bench.report.results import Results, Run

ABOUT = {"machine": {"cpu": "", "cores": 2, "system": "", "load_average": [0]}, "date": ""}


def results(**rates: list[float]) -> Results:
    """Runs of `three-64` with these rates, by peer; CPU time is what fits a whole core."""
    kept = Results()
    for peer, values in rates.items():
        for rate in values:
            figures = {"rate": rate, "p50_ms": 1.0, "p99_ms": 2.0, "cpu_us": 1e6 / rate}
            kept.runs.append(Run("three-64", peer.replace("_", "-"), figures))
    return kept
