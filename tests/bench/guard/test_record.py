"""The guard's verdicts, on figures made by hand, and its records."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from bench.guard.record import CLIENTS, MOST_AT_64, order, read, verdicts, write
from bench.paths import ROOT


def seen(ratio: float = 0.1, one: float = 100, many: float = 50, python: str = "3.11.7") -> dict[str, Any]:
    """Figures of a run; the gateway makes four fifths of the calls."""
    calls = {
        clients: {"gateway": 0.8 * both, "inference": 0.2 * both, "both": both}
        for clients, both in (("1", one), ("64", many))
    }
    return {"ratio": ratio, "calls": calls, "versions": {"python": python}}


RECORDS = {"3.11": seen()}


@pytest.mark.parametrize(
    ("figures", "good"),
    [
        ({}, True),
        ({"ratio": 0.076, "one": 104.9, "many": 52.4}, True),
        ({"ratio": 0.074}, False),
        ({"one": 105.1}, False),
        ({"many": 52.6}, False),
    ],
)
def test_the_guard_refuses_what_is_dearer(figures: dict[str, float], good: bool) -> None:
    assert all(fine for fine, _ in verdicts(seen(**figures), RECORDS)) is good  # type: ignore[arg-type]


def test_the_gateway_has_a_limit_whatever_is_recorded() -> None:
    dear = seen(many=(MOST_AT_64 + 1) / 0.8)
    assert not all(fine for fine, _ in verdicts(dear, {"3.11": dear}))


def test_a_python_without_a_record_fails_and_says_how_to_record() -> None:
    judged = list(verdicts(seen(python="3.13.0"), RECORDS))
    sentence = " ".join(words for good, words in judged if not good)
    assert "no record for Python 3.13, only for 3.11" in sentence
    assert "--record" in sentence


def test_a_record_becomes_worse_only_with_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "recorded.json"
    write(seen(), file=file)
    write(seen(one=99), file=file)
    with pytest.raises(SystemExit, match="99 -> 120"):
        write(seen(one=120), file=file)
    assert read(file)["3.11"]["calls"]["1"]["both"] == 99
    write(seen(one=120), because="every request is signed", file=file)
    assert read(file)["3.11"]["calls"]["1"]["both"] == 120
    assert read(file)["3.11"]["because"] == "every request is signed"


def test_each_python_keeps_a_record_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "recorded.json"
    for python in ("3.11.7", "3.10.1", "3.9.18"):
        write(seen(python=python), file=file)
    assert list(read(file)) == ["3.9", "3.10", "3.11"]


def test_the_records_have_what_the_guard_reads() -> None:
    records = read()
    assert records
    for python, recorded in records.items():
        assert recorded["versions"]["python"].startswith(f"{python}.")
        assert 0 < recorded["ratio"] < 1
        assert all(recorded["calls"][clients]["both"] > 0 for clients in CLIENTS)
        assert all(good for good, _ in verdicts(recorded, records))


def test_the_lowest_python_has_a_record() -> None:
    lowest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f">={min(read().items(), key=order)[0]}" in lowest
