"""The table of shapes with one core and with two."""

from __future__ import annotations

from bench.report.cores_table import cores_jobs, cores_table
from bench.report.results import Results, Run


def test_a_shape_is_held_against_the_first_by_rate_and_by_cpu() -> None:
    kept = Results()
    for shape, cores, rate, cpu in (("one", 1, 100.0, 50.0), ("two", 2, 150.0, 80.0)):
        figures = {"rate": rate, "cpu_us": cpu, "gateway_rows": 4.0, "cores": cores}
        kept.runs.append(Run("cores-three-64", shape, figures))
    rows = list(cores_table(kept))[2:]
    assert cores_jobs(kept) == ["cores-three-64"]
    assert len(rows) == 2
    assert "| three, 64 | two | 150 | 1.50x | 80 | 1.25x | 4.0 |" in rows[1]
