"""Medians, goals and the guard's verdicts, on figures made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.guard.__main__ import RECORDED, verdicts
from bench.load.jobs import JOBS
from bench.paths import PEERS
from bench.report.goals import GOALS, Goal
from bench.report.plot import draw
from bench.report.results import Results, Run
from bench.report.tables import ALONE, TITLES, report
from bench.servers.peer import ALL, BY_NAME

ABOUT = {"machine": {"cpu": "", "cores": 2, "system": "", "load_average": [0]}, "date": ""}


def results(**rates: list[float]) -> Results:
    """Runs of `three-64` with these rates, by peer; CPU time is what fits a whole core."""
    kept = Results()
    for peer, values in rates.items():
        for rate in values:
            figures = {"rate": rate, "p50_ms": 1.0, "p99_ms": 2.0, "cpu_us": 1e6 / rate}
            kept.runs.append(Run("three-64", peer.replace("_", "-"), figures))
    return kept


def test_medians_and_spread_are_those_of_the_runs() -> None:
    kept = results(ours=[100.0, 300.0, 200.0])
    assert kept.median("three-64", "ours", "rate") == 200.0
    assert kept.spread("three-64", "ours", "rate") == 1.0
    assert kept.median("three-64", "echo", "rate") is None


def test_a_goal_is_held_against_the_best_of_its_peers() -> None:
    kept = results(ours=[300.0], fastapi=[100.0], triton=[200.0])
    goal = Goal("three-64", "rate", 2, peers=("fastapi", "triton", "mlserver"))
    assert goal.value(kept) == 1.5
    assert goal.by_cpu(kept) == pytest.approx(1.5)
    assert not goal.met(1.5)
    assert goal.met(2.0)


def test_an_upper_bound_is_held_against_the_smallest() -> None:
    kept = results(ours=[300.0], fastapi=[100.0])
    goal = Goal("three-64", "p99_ms", 0.9, least=False, peers=("fastapi",))
    assert goal.value(kept) == 1.0
    assert not goal.met(1.0)


def test_a_peer_that_is_not_there_leaves_a_goal_open() -> None:
    assert Goal("three-64", "rate", 2, peers=("triton",)).value(results(ours=[1.0])) is None


def test_goals_name_jobs_and_peers_that_exist() -> None:
    assert {goal.job for goal in GOALS} <= TITLES.keys() | ALONE.keys()
    assert {peer for goal in GOALS for peer in goal.peers} <= BY_NAME.keys()


def test_each_environment_is_pinned_to_exact_versions() -> None:
    for name in {peer.environment for peer in ALL} - {""}:
        lines = (PEERS / "requirements" / f"{name}.txt").read_text().splitlines()
        assert lines, name
        assert all("==" in line for line in lines if not line.startswith("#")), name


def test_quick_jobs_are_few() -> None:
    assert 0 < sum(job.quick for job in JOBS) < len(JOBS)


def test_the_report_shows_ratios_and_what_went_wrong() -> None:
    kept = results(ours=[300.0], fastapi=[100.0])
    kept.runs.append(Run("three-64", "triton", {"rate": 1.0, "cpu_us": 1.0}, {"wrong answer": 2}))
    kept.absent["kserve"] = "no wheel"
    text = report(ABOUT, kept)
    assert "| fastapi | 100 | 0% | 3.00x |" in text
    assert "{'wrong answer': 2}" in text
    assert "- kserve: no wheel" in text
    assert "| three-64 | rate ≥ 3 x fastapi | 3x | 3x | met |" in text


def test_kept_results_can_be_drawn_again(tmp_path: Path) -> None:
    kept = results(ours=[300.0], fastapi=[100.0], echo=[900.0])
    kept.runs.append(Run("overload", "ours", {"peak": 10.0}))
    kept.series["overload"] = {"good": [9.0, 10.0], "refused": [11.0, 10.0], "good_p99_ms": [5.0, 5.0]}
    draw(Results.read(json.loads(json.dumps(kept.as_json()))), tmp_path)
    for name in ("peers.svg", "overload.svg"):
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")
    assert "300/s" in (tmp_path / "peers.svg").read_text()


@pytest.mark.parametrize(
    ("ratio", "calls", "good"),
    [(0.100, 100, True), (0.086, 104, True), (0.084, 100, False), (0.100, 106, False)],
)
def test_the_guard_refuses_what_is_dearer(ratio: float, calls: float, good: bool) -> None:
    versions = {"versions": {"python": "3.11.7"}}
    judged = verdicts({"ratio": ratio, "calls": calls, **versions}, {"ratio": 0.1, "calls": 100, **versions})
    assert all(fine for fine, _ in judged) is good


def test_the_guard_compares_calls_on_one_version_of_python_only() -> None:
    seen = {"ratio": 0.1, "calls": 200, "versions": {"python": "3.13.0"}}
    recorded = {"ratio": 0.1, "calls": 100, "versions": {"python": "3.11.7"}}
    assert all(fine for fine, _ in verdicts(seen, recorded))


def test_the_record_has_what_the_guard_reads() -> None:
    recorded = json.loads(RECORDED.read_text())
    assert 0 < recorded["ratio"] < 1
    assert recorded["calls"] > 0
    assert recorded["versions"]["python"]
