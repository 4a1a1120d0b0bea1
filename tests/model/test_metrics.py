"""A model's own metrics: what is taken of them, and what is refused with a sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from inferencehub.model import metrics
from inferencehub.model.metrics import SERIES, Family, MetricError


@pytest.fixture(autouse=True)
def none_declared() -> Iterator[None]:
    """As in a new process."""
    metrics.declared.clear()
    metrics.take()
    yield
    metrics.declared.clear()


def test_what_changed_is_taken_once() -> None:
    tokens = metrics.counter("tokens_total", "tokens", ("kind",))
    size = metrics.gauge("size", "size")
    length = metrics.histogram("length", "length", buckets=(1, 2))
    tokens.inc(kind="a")
    tokens.inc(2.5, kind="a")
    tokens.inc(0, kind=3)
    size.set(7)
    size.inc(-2)
    for value in (1, 1.5, 2, 9):
        length.observe(value)
    assert metrics.changed.is_set()
    assert [family._replace(series=tuple(sorted(family.series))) for family in metrics.take()] == [
        Family("counter", "tokens", "tokens", ("kind",), (), ((("3",), (0.0,)), (("a",), (3.5,)))),
        Family("gauge", "size", "size", (), (), (((), (5.0,)),)),
        Family("histogram", "length", "length", (), (1.0, 2.0), (((), (1.0, 2.0, 1.0, 13.5)),)),
    ]
    assert not metrics.changed.is_set()
    assert metrics.take() == []
    tokens.inc(kind="a")
    size.inc()
    assert [family.series for family in metrics.take()] == [((("a",), (1.0,)),), (((), (6.0,)),)]


def test_a_metric_declared_again_is_the_same() -> None:
    assert metrics.counter("a", "one") is metrics.counter("a", "two")
    for other in (lambda: metrics.gauge("a", "x"), lambda: metrics.counter("a", "x", ("b",))):
        with pytest.raises(MetricError, match="metric 'a' is a counter with other labels or buckets already"):
            other()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: metrics.counter("a b", ""), "metric 'a b': 'a b' is no name"),
        (lambda: metrics.counter("Ab", ""), "'Ab' is no name"),
        (lambda: metrics.counter("a\n", ""), "is no name"),
        (lambda: metrics.counter("a" * 61, ""), "is no name"),
        (lambda: metrics.counter("a", "", ("b c",)), "metric 'a': 'b c' is no name"),
        (lambda: metrics.counter("a", "", ("model",)), "labels differ and are none of"),
        (lambda: metrics.counter("a", "", ("b", "b")), "labels differ"),
        (lambda: metrics.counter("a", "", "bcdefg"), "has 6 labels, expected at most 5"),
        (lambda: metrics.histogram("a", "", (), (2, 1)), "expected 1 to 50 ascending bounds, got \\[2, 1\\]"),
        (lambda: metrics.histogram("a", "", (), ()), "expected 1 to 50 ascending bounds"),
        (lambda: metrics.counter("a", "").inc(-1), "counter 'a' takes 0 or more, got -1"),
        (lambda: metrics.counter("a", "").inc(float("nan")), "metric 'a' takes a finite number, got nan"),
        (lambda: metrics.gauge("a", "").set("1"), "takes a finite number, got '1'"),  # type: ignore[arg-type]
        (lambda: metrics.counter("a", "", ("b",)).inc(), "metric 'a' has the labels: b; got: none"),
        (lambda: metrics.counter("a", "").inc(c=1), "metric 'a' has the labels: none; got: c"),
    ],
)
def test_what_is_wrong_is_a_sentence(wrong: Callable[[], object], sentence: str) -> None:
    with pytest.raises(MetricError, match=sentence):
        wrong()
    assert metrics.take() == []


def test_labels_and_metrics_without_end_are_refused() -> None:
    users = metrics.counter("users", "", ("user",))
    for number in range(SERIES):
        users.inc(user=number)
    with pytest.raises(MetricError, match=r"has 100 sets of label values, the most .* would be 100"):
        users.inc(user=SERIES)
    users.inc(user=5)
    for number in range(metrics.METRICS - 1):
        metrics.gauge(f"g{number}", "")
    with pytest.raises(MetricError, match="there are 100, the most that a model may have"):
        metrics.gauge("one_more", "")


def test_threads_lose_no_count() -> None:
    count = metrics.counter("count", "")
    took: list[float] = []

    def add() -> None:
        for _ in range(5000):
            count.inc()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or metrics.changed.is_set():
        took += [family.series[0][1][0] for family in metrics.take()]
    assert sum(took) == 20_000
