"""Answers under overload: what counts as good, and how a collapse shows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.load.open_loop import Answer
from bench.parts.overload import by_second, summary


def test_overload_counts_only_what_came_in_time() -> None:
    answers = [
        Answer(0.1, 0.0, 0.2, 200),
        Answer(0.2, 0.0, 1.2, 200),
        Answer(0.5, 0.0, 0.9, 200),
        Answer(1.1, 0.0, 0.003, 429),
        Answer(1.2, 0.0, 1.0, 504),
        Answer(1.5, 0.0, 0.9, 200),  # in time, and after the end
    ]
    seen = summary(answers, 2.0)
    assert (seen["goodput"], seen["refused"], seen["expired"]) == (1.0, 0.5, 0.5)
    assert seen["refused_p99_ms"] == pytest.approx(3.0)
    assert by_second(answers, 2.0)["good"] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("by_window", "to_steady", "to_second"),
    [((12, 8, 8, 8, 8, 8), 1.0, 1.0), ((9, 8, 8, 8, 8, 4), 0.5, 0.5), ((9, 10, 8, 8, 6, 4), 0.5, 0.4)],
)
def test_a_collapse_at_the_end_shows_and_a_good_beginning_does_not(
    by_window: Sequence[int], to_steady: float, to_second: float
) -> None:
    answers = [
        Answer(10.0 * window + at, 0.0, 0.1, 200)
        for window, count in enumerate(by_window)
        for at in (index / 2 for index in range(count))
    ]
    seen = summary(answers, 60.0)
    assert seen["goodput"] == pytest.approx(sum(by_window) / 60)
    assert (seen["last_to_steady"], seen["last_to_second"]) == pytest.approx((to_steady, to_second))
