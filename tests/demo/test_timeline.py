"""The demo's figures agree with its samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from demo.timeline import HEADER, Sample, read_csv, row, summary, write_csv

from tests.demo.run import CALM, samples


def test_a_run_that_followed_the_load() -> None:
    found = summary(samples())
    assert (found.more_s, found.most, found.worst_queue_s, found.settled_s, found.back_s) == (
        15,
        4,
        8.7,
        30,
        25,
    )
    assert (found.sent, found.failed, found.good) == (218, 0, True)


def test_a_run_that_did_not() -> None:
    found = summary(samples(follows=False))
    assert (found.more_s, found.most, found.settled_s, found.back_s, found.good) == (
        None,
        1,
        None,
        None,
        False,
    )
    assert "more pods wanted: never" in str(found)


def test_a_queue_that_comes_back_is_not_settled() -> None:
    run = samples()
    run[68] = replace(run[68], queue_p95_ms=1500.0)
    assert summary(run).settled_s == 59
    # Under load, no answer at all is no short queue.
    run[69] = replace(run[69], queue_p95_ms=None)
    assert summary(run).settled_s is None


def test_a_failure_on_the_way_is_not_good() -> None:
    run = samples()
    run[-1] = replace(run[-1], failed=1)
    assert not summary(run).good


def test_samples_survive_their_file(tmp_path: Path) -> None:
    write_csv(tmp_path / "demand.csv", samples())
    assert read_csv(tmp_path / "demand.csv") == samples()


@pytest.mark.parametrize(
    ("sample", "shown"),
    [
        (replace(CALM, at_s=61.2, asked=3), ["61s", "2", "2.0", "0.00", "s", "0", "0.25", "12%", "#..", "1", "of", "3", "0"]),
        (replace(CALM, queue_p95_ms=None, demand=None, cpu_percent=None), ["0s", "2", "2.0", "-", "0", "-", "<unknown>", "#", "1", "of", "1", "0"]),
    ],
)  # fmt: skip
def test_a_row_shows_what_there_is(sample: Sample, shown: list[str]) -> None:
    assert row(sample).split() == shown


def test_rows_stand_under_their_header() -> None:
    assert len(row(CALM)) == len(HEADER)
