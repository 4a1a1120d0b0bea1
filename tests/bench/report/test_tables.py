"""Goals, tables and plots, on figures made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.report.goals import GOALS, Goal
from bench.report.plot import draw
from bench.report.results import Results, Run
from bench.report.tables import ALONE, TITLES, report
from bench.servers.peer import BY_NAME
from tests.bench.report.made_by_hand import ABOUT, results


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
