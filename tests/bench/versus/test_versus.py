"""Two checkouts measured in turns: which code runs, what is refused, and which ratios are good enough."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.paths import ROOT
from bench.servers.stack import running_stack
from bench.versus.rows import ROWS, Ratios, table
from bench.versus.trees import GENERATED, NATIVE, checked

RATE = next(row for row in ROWS if row.name == "three-64")
LATENCY = next(row for row in ROWS if row.name == "three-1")


def tree(place: Path, generated: bool = True, native: bool = True) -> Path:
    """A checkout with these files alone."""
    for file, there in ((GENERATED, generated), (GENERATED.parent / NATIVE, native)):
        if there:
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).touch()
    return place


def test_a_checkout_without_generated_code_is_refused(tmp_path: Path) -> None:
    old, new = tree(tmp_path / "old"), tree(tmp_path / "new", generated=False)
    with pytest.raises(SystemExit, match=r"new has no .*open_inference_pb2.py: run `make install`"):
        checked(old, new)


def test_compiled_code_in_one_checkout_alone_is_refused(tmp_path: Path) -> None:
    old, new = tree(tmp_path / "old"), tree(tmp_path / "new", native=False)
    with pytest.raises(SystemExit, match=r"only one of both has libnumbers.so, and .*new has none"):
        checked(old, new)
    assert checked(old, old) == (old, old)


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="reads /proc")
def test_each_stack_runs_the_code_of_its_checkout(tmp_path: Path) -> None:
    (tmp_path / "services").symlink_to(ROOT / "services")
    with running_stack(tree=tmp_path) as stack:
        for child in stack.children:
            assert os.readlink(f"/proc/{child.pid}/cwd") == str(tmp_path)
            environ = Path(f"/proc/{child.pid}/environ").read_text().split("\0")
            assert f"PYTHONPATH={tmp_path / 'services'}" in environ


@pytest.mark.parametrize(("ratio", "kept"), [(1.2, True), (0.97, True), (0.96, False)])
def test_a_rate_may_be_three_percent_lower(ratio: float, kept: bool) -> None:
    assert RATE.keeps(ratio) is kept


@pytest.mark.parametrize(("ratio", "kept"), [(0.8, True), (1.03, True), (1.04, False)])
def test_a_latency_may_be_three_percent_higher(ratio: float, kept: bool) -> None:
    assert LATENCY.keeps(ratio) is kept


def test_the_median_of_the_rounds_decides() -> None:
    ratios = Ratios()
    for new in (50.0, 99.0, 100.0):
        ratios.add(RATE, {"rate": 100.0, "cpu_us": 40.0}, {"rate": new, "cpu_us": 44.0})
    assert ratios.figure == [0.5, 0.99, 1.0]
    line = table([RATE], {RATE.name: ratios}).splitlines()[1]
    assert line.split() == ["three-64", "0.990", "0.500", "1.000", "1.100", "rate", "≥", "0.97:", "kept"]
