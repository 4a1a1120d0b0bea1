"""The last minute of counters, one second at a time, and what is estimated from their buckets."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest

from inferencehub.core.process.metrics import SECONDS
from inferencehub.gateway.console.window import SECONDS as LENGTH
from inferencehub.gateway.console.window import Window, quantile


def test_what_was_before_the_first_look_does_not_count() -> None:
    window = Window[str]()
    assert window.take([("a", [5, 1])]) == {}
    assert (window.sums, window.seconds) == ({}, 0)
    assert window.take([("a", [7, 1]), ("b", [0, 2])]) == {"a": [2, 0], "b": [0, 2]}
    assert window.sums == {"a": [2, 0], "b": [0, 2]}
    assert window.take([("a", [7, 1]), ("b", [0, 3])]) == {"b": [0, 1]}
    assert window.sums == {"a": [2, 0], "b": [0, 3]}
    assert window.seconds == 2


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    window = Window[str]()
    counts = [0, 0]
    window.take([("a", counts)])
    counts[0] += 10
    window.take([("a", counts)])
    for _ in range(LENGTH - 1):
        counts[1] += 1
        window.take([("a", counts)])
    assert window.sums == {"a": [10, LENGTH - 1]}
    window.take([("a", counts)])
    assert window.sums == {"a": [0, LENGTH - 1]}
    for _ in range(LENGTH - 1):
        window.take([("a", counts)])
    assert (window.sums, window.seconds) == ({}, LENGTH)


def test_counters_that_are_changed_in_place_are_seen() -> None:
    window = Window[str]()
    live = [0.0]
    window.take([("a", live)])
    live[0] += 1
    assert window.take([("a", live)]) == {"a": [1]}


@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_quantiles_are_within_their_bucket(q: float) -> None:
    rng = random.Random(7)
    values = sorted(rng.lognormvariate(-2, 1) for _ in range(10_000))
    counts = [0.0] * (len(SECONDS) + 1)
    for value in values:
        counts[bisect_left(SECONDS, value)] += 1
    true, found = values[int(q * len(values))], quantile(q, SECONDS, counts)
    at = bisect_left(SECONDS, true)
    assert found is not None
    assert SECONDS[at - 1] * 0.99 <= found <= SECONDS[at] * 1.01


# As Prometheus describes `histogram_quantile`: linear within a bucket from 0, and the last bound beyond it.
@pytest.mark.parametrize(
    ("q", "counts", "expected"),
    [(0.5, [0, 4, 0], 1.5), (0.5, [2, 2, 0], 1.0), (0.99, [0, 0, 3], 2.0), (0.5, [0, 0, 0], None), (0.25, [4, 0, 0], 0.25)],
)  # fmt: skip
def test_quantiles_by_hand(q: float, counts: list[float], expected: float | None) -> None:
    assert quantile(q, (1.0, 2.0), counts) == expected
