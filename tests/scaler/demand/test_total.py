"""The total: the mean of complete rounds; if a gateway is silent, the larger value; later no value."""

from __future__ import annotations

from time import monotonic

import pytest

from inferencehub.core.values.demand import ModelDemand, Report
from inferencehub.scaler.demand.gateways import Release
from inferencehub.scaler.demand.total import LEAST_S, PATIENCE_S, WINDOW_S, Total
from inferencehub.scaler.metrics import Metrics


def says(pods: float, model: str = "a", pool: str = "default") -> Report:
    return Report(1.0, [ModelDemand(pool, model, "1", pods * 4, 0.0, 4)])


def fed(*rounds: tuple[int, int, list[Report]], since: float = 0.0) -> tuple[Total, float]:
    """A total with one round a second, and the moment of the last."""
    total = Total()
    for index, (gateways, answered, reports) in enumerate(rounds):
        total.add(since + index, gateways, answered, reports)
    return total, since + len(rounds) - 1


def test_gateways_add_up() -> None:
    total, at = fed(*[(3, 3, [says(1.0), says(0.5), says(0.25)])] * 10)
    reading = total.read(at)
    assert reading is not None
    assert reading.pools == {"default": 1.75}
    assert (reading.complete, reading.gateways, reading.answered, reading.age_s) == (True, 3, 3, 0.0)
    assert reading.window_s == 9.0


def test_a_pool_needs_what_its_largest_model_needs_on_average() -> None:
    # Each model has a moment at 4; the mean of the larger one counts, not the mean of the largest.
    first, then = [says(4.0, "a"), says(0.0, "b")], [says(0.0, "a"), says(4.0, "b")]
    total, at = fed(*[(2, 2, first), (2, 2, then)] * 5)
    reading = total.read(at)
    assert reading is not None
    assert reading.pools == {"default": 2.0}
    assert reading.now == {"default": 4.0}


def test_pools_are_apart() -> None:
    total, at = fed(*[(1, 1, [says(1.0, "a", "cpu"), says(3.0, "a", "gpu")])] * 6)
    reading = total.read(at)
    assert reading is not None
    assert reading.pools == {"cpu": 1.0, "gpu": 3.0}


def test_the_window_slides() -> None:
    total, at = fed(*[(1, 1, [says(9.0)])] * 20, *[(1, 1, [says(1.0)])] * int(WINDOW_S))
    reading = total.read(at)
    assert reading is not None
    assert reading.pools == {"default": 1.0}


def test_a_gateway_that_comes_or_goes_changes_no_mean() -> None:
    """In a rolling update requests move from gateway to gateway; what all of them need stays."""
    before = [(2, 2, [says(1.0), says(1.0)])] * 8
    surge = [(3, 3, [says(0.7), says(0.7), says(0.6)])] * 4
    after = [(2, 2, [says(1.0), says(1.0)])] * 4
    for rounds in (before, before + surge, before + surge + after):
        total, at = fed(*rounds)
        reading = total.read(at)
        assert reading is not None
        assert reading.pools["default"] == pytest.approx(2.0)


def test_one_that_drains_counts_while_it_answers_and_is_not_missed_after() -> None:
    total, at = fed(*[(1, 1, [says(1.0), says(1.0)])] * 5, *[(1, 1, [says(2.0)])] * 5)
    reading = total.read(at)
    assert reading is not None
    assert (reading.pools, reading.complete) == ({"default": 2.0}, True)


def test_a_silent_gateway_leaves_the_larger_of_then_and_now() -> None:
    full = [(2, 2, [says(1.0), says(2.0)])] * 6
    total, at = fed(*full, *[(2, 1, [says(1.0)])] * 20)
    reading = total.read(at)
    assert reading is not None
    assert (reading.pools, reading.complete, reading.age_s) == ({"default": 3.0}, False, 20.0)
    total, at = fed(*full, *[(2, 1, [says(5.0)])] * 20)
    reading = total.read(at)
    assert reading is not None
    assert reading.pools == {"default": 5.0}


def test_after_a_minute_of_silence_there_is_no_reading_until_all_answer_again() -> None:
    total, at = fed(*[(2, 2, [says(1.0), says(1.0)])] * 6)
    for second in range(1, int(PATIENCE_S) + 1):
        total.add(at + second, 2, 1, [says(1.0)])
    assert total.read(at + PATIENCE_S) is not None
    total.add(at + PATIENCE_S + 1, 2, 1, [says(1.0)])
    assert total.read(at + PATIENCE_S + 1) is None
    total.add(at + PATIENCE_S + 2, 2, 2, [says(1.0), says(1.0)])
    assert total.read(at + PATIENCE_S + 2) is not None


def test_no_gateway_is_not_no_demand() -> None:
    total, at = fed(*[(1, 1, [says(2.0)])] * 6, *[(0, 0, [])] * 10)
    reading = total.read(at)
    assert reading is not None
    assert (reading.pools, reading.complete) == ({"default": 2.0}, False)
    total, at = fed(*[(0, 0, [])] * 10)
    assert total.read(at) is None


def test_never_complete_is_never_read() -> None:
    total, at = fed(*[(2, 1, [says(1.0)])] * 20)
    assert total.read(at) is None


def test_what_gateways_just_said_is_there_without_a_reading() -> None:
    """Enough to wake a pool: one gateway that is silent for hours must not keep the requests of the others waiting."""
    total, at = fed(*[(2, 2, [says(1.0), says(2.0)])] * 6)
    for second in range(1, int(PATIENCE_S) + 10):
        total.add(at + second, 2, 1, [says(0.5)])
    at += PATIENCE_S + 9
    assert total.read(at) is None
    assert total.told(at) == {"default": 0.5}
    assert total.told(at + LEAST_S) == {}
    assert Total().told(at) == {}


def test_one_second_is_no_mean() -> None:
    total, at = fed(*[(1, 1, [says(1.0)])] * 2)
    assert total.read(at) is None
    total, at = fed(*[(1, 1, [says(1.0)])] * (int(LEAST_S) + 1))
    assert total.read(at) is not None


def test_nobody_asks_any_more() -> None:
    total, at = fed(*[(1, 1, [says(1.0)])] * 6)
    assert total.read(at + WINDOW_S + 1) is None


def values(total: Total) -> dict[str, float]:
    """The series of the scaler's metrics for this total alone."""
    metrics = Metrics({Release("ns", "hub"): total}, {})
    return {sample.name: sample.value for family in metrics.collect() for sample in family.samples}


def test_how_old_it_is_is_shown_without_a_reading_too() -> None:
    """An alert is to say that there is none."""
    now = monotonic()
    assert not values(Total())
    total, _ = fed(*[(2, 2, [says(1.0)])] * 2, *[(2, 1, [says(1.0)])] * 90, since=now - 92)
    assert total.read(now) is None
    found = values(total)
    assert found.keys() == {
        f"inferencehub_scaler_{what}" for what in ("age_seconds", "gateways", "gateways_answered")
    }
    assert found["inferencehub_scaler_age_seconds"] >= 91 > PATIENCE_S
    assert (found["inferencehub_scaler_gateways"], found["inferencehub_scaler_gateways_answered"]) == (2, 1)
    never, _ = fed(*[(0, 0, [])] * 70, since=now - 70)
    assert values(never)["inferencehub_scaler_age_seconds"] >= 70
    sound, _ = fed(*[(1, 1, [says(1.0)])] * 10, since=now - 9)
    assert values(sound)["inferencehub_scaler_demand"] == 1.0
    assert values(sound)["inferencehub_scaler_age_seconds"] < PATIENCE_S
