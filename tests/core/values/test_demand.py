"""Demand: counted in slots, reported in pods, summed over gateways; a pool's demand is that of its busiest model."""

from __future__ import annotations

import msgspec
import pytest

from inferencehub.core.values.demand import (
    ModelDemand,
    Report,
    by_model,
    by_pool,
    slots_for_backlog,
    slots_needed,
)


@pytest.mark.parametrize(
    ("requests", "rows", "max_batch_size", "slots"),
    [
        (0, 0, 0, 0),
        (5, 5, 0, 5),
        (17, 17, 8, 3),
        (16, 16, 8, 2),
        (3, 30, 16, 2),
        (1, 16, 16, 1),
        (2, 2, 1, 2),
    ],
)
def test_requests_that_may_share_a_batch_share_a_slot(
    requests: int, rows: int, max_batch_size: int, slots: int
) -> None:
    assert slots_needed(requests, rows, max_batch_size) == slots


def demand(
    pool: str, model: str, running: float, queued: float = 0.0, slots: int = 4, version: str = "1"
) -> ModelDemand:
    return ModelDemand(pool, model, version, running, queued, slots)


def test_demand_is_in_pods() -> None:
    assert demand("default", "a", 3.0, 5.0).pods == 2.0


def test_gateways_add_up_and_the_largest_model_counts() -> None:
    one = Report(15.0, [demand("cpu", "a", 2.0), demand("cpu", "b", 3.0), demand("gpu", "c", 0.0, slots=1)])
    other = Report(15.0, [demand("cpu", "a", 1.0, 3.0), demand("cpu", "b", 1.0)])
    assert by_pool(by_model([one, other])) == {"cpu": 1.5, "gpu": 0.0}


def test_versions_have_slots_of_their_own() -> None:
    report = Report(15.0, [demand("cpu", "a", 2.0), demand("cpu", "a", 3.0, version="2")])
    assert by_pool(by_model([report])) == {"cpu": 0.75}


def test_what_one_gateway_holds_and_another_queues_adds_up() -> None:
    knows = Report(1.0, [demand("cpu", "a", 0.0, 2.0)])
    is_new = Report(1.0, [demand("cpu", "a", 0.0, 2.0, version="")])
    assert by_pool(by_model([knows, is_new])) == {"cpu": 1.0}
    assert by_pool(by_model([is_new])) == {"cpu": 0.5}


def test_no_report_is_no_pool() -> None:
    assert by_pool(by_model([])) == {}


def test_a_report_survives_the_wire() -> None:
    report = Report(15.0, [demand("cpu", "a", 2.25, 0.5)])
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_what_gateways_share_counts_once() -> None:
    one = Report(1.0, [demand("cpu", "a", 2.0)], [demand("cpu", "a", 0.0, 4.0), demand("cpu", "b", 0.0, 1.0)])
    other = Report(1.0, [demand("cpu", "a", 2.0)], [demand("cpu", "a", 0.0, 4.0)])
    assert by_model([one, other]) == {("cpu", "a", "1"): 2.0, ("cpu", "b", "1"): 0.25}
    # One that has seen no pod yet names no version, and one that knows how long jobs run tells more.
    is_new = Report(1.0, [], [demand("cpu", "a", 0.0, 1.0, version="")])
    assert by_model([one, is_new]) == {("cpu", "a", "1"): 1.5, ("cpu", "b", "1"): 0.25}
    assert by_pool(by_model([is_new])) == {"cpu": 0.25}


@pytest.mark.parametrize(
    ("jobs", "run_s", "slots"),
    [(0, None, 0.0), (9, None, 1.0), (9, 0.5, 0.45), (9, 10.0, 9.0), (9, 20.0, 9.0)],
)
def test_a_backlog_needs_slots_to_be_worked_off_in_time(jobs: int, run_s: float | None, slots: float) -> None:
    assert slots_for_backlog(jobs, run_s, drain_s=10.0) == pytest.approx(slots)


def test_a_report_without_what_is_shared_is_read() -> None:
    assert msgspec.json.decode(b'{"window_s": 1.0, "models": []}', type=Report) == Report(1.0, [])
