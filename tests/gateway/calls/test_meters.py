"""Meters of names that callers choose: they are bounded, and who is used keeps what was counted."""

from __future__ import annotations

from inferencehub.gateway.calls.limits.meters import MOST_METERS, Meters


def test_names_of_one_kind_cost_no_other_kind_a_meter_and_the_longest_unused_one_goes() -> None:
    meters = Meters()
    model, used, old = meters.of("model", "big"), meters.of("address", "used"), meters.of("address", "old")
    runs = meters.of("address", "runs")
    runs.running = 1
    for number in range(MOST_METERS + 50):
        meters.of("address", str(number))
        assert meters.of("address", "used") is used
    assert meters.of("model", "big") is model
    assert meters.of("address", "runs") is runs
    assert meters.of("address", "old") is not old
