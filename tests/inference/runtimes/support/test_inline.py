"""Inline runs: the event loop runs a model itself only if the run is short, and never again after a long one."""

from __future__ import annotations

from inferencehub.inference.runtimes.support.inline import (
    ALONE_SHORT_S,
    IN_A_ROW,
    LONG_S,
    SHORT_S,
    InlineRuns,
)


def seen(size: int, runs: int = IN_A_ROW) -> InlineRuns:
    shortness = InlineRuns(2)
    for _ in range(runs):
        shortness.ran(size, SHORT_S)
    return shortness


def test_many_short_runs_let_as_large_ones_and_twice_as_large_ones_in() -> None:
    assert not seen(12, IN_A_ROW - 1).fits(12)
    shortness = seen(12)
    assert shortness.fits(0)
    assert shortness.fits(24)
    assert not shortness.fits(25)
    shortness.ran(24, SHORT_S)
    assert shortness.fits(48)


def test_after_a_run_that_was_not_short_it_takes_many_again() -> None:
    shortness = seen(12)
    shortness.ran(12, SHORT_S * 1.01)
    for _ in range(IN_A_ROW):
        assert not shortness.fits(1)
        shortness.ran(6, SHORT_S)
    assert shortness.fits(12)
    assert not shortness.fits(13), "the size before it counts no more"


def test_after_a_long_run_none_is_let_in() -> None:
    shortness = seen(12)
    shortness.ran(12, LONG_S * 1.01)
    for _ in range(2 * IN_A_ROW):
        shortness.ran(12, 0)
    assert not shortness.fits(0)


def test_on_one_core_a_longer_run_is_still_short() -> None:
    for cores, fits in ((1, True), (2, False)):
        shortness = InlineRuns(cores)
        for _ in range(IN_A_ROW):
            shortness.ran(12, ALONE_SHORT_S)
        assert shortness.fits(12) is fits
