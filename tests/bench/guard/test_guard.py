"""The guard's verdicts, on figures made by hand, and its record."""

from __future__ import annotations

import json

import pytest

from bench.guard.__main__ import RECORDED, verdicts


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
