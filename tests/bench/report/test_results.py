"""Medians and spread, on figures made by hand."""

from __future__ import annotations

from bench.load.jobs import JOBS
from tests.bench.report.made_by_hand import results


def test_medians_and_spread_are_those_of_the_runs() -> None:
    kept = results(ours=[100.0, 300.0, 200.0])
    assert kept.median("three-64", "ours", "rate") == 200.0
    assert kept.spread("three-64", "ours", "rate") == 1.0
    assert kept.median("three-64", "echo", "rate") is None


def test_quick_jobs_are_few() -> None:
    assert 0 < sum(job.quick for job in JOBS) < len(JOBS)
