"""Our histogram shows what prometheus_client's own shows."""

from math import exp
from statistics import NormalDist

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Theirs

from inferencehub.core.process.histogram import Histogram, Observations
from inferencehub.core.process.metrics import ROWS, SECONDS

VALUES = st.one_of(st.sampled_from([*SECONDS, *ROWS, 0.0]), st.floats(0, 1000))


@given(st.lists(st.tuples(st.sampled_from(["a", 'b"\\']), VALUES)), st.sampled_from([SECONDS, ROWS]))
def test_it_shows_what_the_library_shows(seen: list[tuple[str, float]], bounds: tuple[float, ...]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Histogram("x_seconds", "how long", ("model",), bounds)
    ours.register(mine)
    library = Theirs("x_seconds", "how long", ("model",), buckets=bounds, registry=theirs)
    for model, value in seen:
        mine.labels(model).observe(value)
        library.labels(model).observe(value)
    text = generate_latest(theirs).decode().splitlines()
    assert generate_latest(ours).decode().splitlines() == [line for line in text if "_created" not in line]


def quantile(share: float, seen: Observations) -> float:
    """What Prometheus' `histogram_quantile` says: linear between the bounds of the bucket that holds the rank."""
    buckets = [(0.0, 0.0), *[(float(bound), count) for bound, count, *_ in seen.buckets()]]
    rank = share * buckets[-1][1]
    place = next(place for place, (_, count) in enumerate(buckets) if place and count >= rank)
    (low, before), (high, count) = buckets[place - 1 : place + 1]
    return low + (high - low) * (rank - before) / (count - before)


@given(seconds=st.floats(0.1001, 2.5))
@example(
    0.1301
)  # of its bucket, 0.13 to 0.15, and of the next, the end is 15.4 and 15.8 % above the beginning
@example(0.1901)
def test_a_time_between_a_tenth_and_two_and_a_half_seconds_is_shown_within_16_percent(seconds: float) -> None:
    seen = Observations(SECONDS)
    for _ in range(100):
        seen.observe(seconds)
    for share in (0.5, 0.95, 0.99):
        assert quantile(share, seen) == pytest.approx(seconds, rel=0.16)


@given(seconds=st.floats(0.001001, 60))
def test_a_time_between_a_millisecond_and_a_minute_is_shown_within_28_percent(seconds: float) -> None:
    seen = Observations(SECONDS)
    for _ in range(100):
        seen.observe(seconds)
    assert quantile(0.99, seen) == pytest.approx(seconds, rel=0.281)


@given(middle=st.floats(0.001, 20), spread=st.floats(0.3, 1.0))
def test_times_that_spread_are_shown_within_15_percent(middle: float, spread: float) -> None:
    """A quick model's times spread by a third and more around their middle; here by a lognormal law."""
    times = sorted(middle * exp(spread * NormalDist().inv_cdf((rank + 0.5) / 1000)) for rank in range(1000))
    seen = Observations(SECONDS)
    for time in times:
        seen.observe(time)
    for share in (0.5, 0.95, 0.99):
        exact = times[round(share * 1000) - 1]
        if 0.001 <= exact <= 60:
            assert quantile(share, seen) == pytest.approx(exact, rel=0.15)


def test_half_a_second_of_a_mock_is_shown_as_half_a_second() -> None:
    """Its answers take some ms more."""
    seen = Observations(SECONDS)
    for number in range(100):
        seen.observe(0.501 + number / 10_000)
    assert quantile(0.99, seen) == pytest.approx(0.5, rel=0.1)


def test_bounds_that_alerts_may_use_stay() -> None:
    stay = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0}
    assert stay <= set(SECONDS)
    assert list(SECONDS) == sorted(set(SECONDS))
