"""The demo's plot shows the measured values."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
import yaml
from demo.panel import HEIGHT, decades, linear
from demo.plot import TARGET_PERCENT, panels, phases, svg
from demo.timeline import Sample

from tests.demo.run import samples
from tests.hub import ROOT

BOTH = {"demand": samples(), "cpu": samples(follows=False)}


@pytest.mark.parametrize("runs", [BOTH, {"cpu": samples(follows=False)}])
def test_it_is_a_picture_with_a_panel_each(runs: dict[str, list[Sample]]) -> None:
    root = ElementTree.fromstring(svg(runs))
    words = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words.count("on CPU") == 3
    assert "on CPU, 0 failed" in words
    assert ("on demand" in words) == ("demand" in runs)
    assert {"2/s", "24/s", "no load", "seconds"} <= set(words)


def test_the_target_is_that_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "charts/inferencehub/values.yaml").read_text())
    assert values["inference"]["autoscaling"]["targetCPU"] == TARGET_PERCENT


def test_nothing_is_drawn_outside_of_its_panel() -> None:
    for panel in panels(BOTH):
        for line in panel.lines:
            assert all(-0.5 <= panel.y(y) <= HEIGHT + 0.5 for _, y in line.points if y is not None), (
                panel.title
            )


def test_where_nothing_was_measured_the_line_is_broken() -> None:
    cpu = panels(BOTH)[3].lines[0]
    assert [stretch[-1][0] for stretch in cpu.stretches()] == [69.0]
    assert len(re.findall("NaN|None|inf", svg(BOTH))) == 0


def test_phases_are_those_of_the_load() -> None:
    assert list(phases(samples())) == [(0, 10, 2), (10, 70, 24), (70, 109, 0)]


def test_ticks_hold_all_values() -> None:
    assert list(linear(8)) == [0, 2, 4, 6, 8]
    assert max(linear(26)) >= 26
    assert list(decades([0.02, 45_000.0])) == [1, 10, 100, 1_000, 10_000, 100_000]
    assert list(decades([1.0])) == [1, 10]
