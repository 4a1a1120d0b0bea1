"""The place of a run in traces: of one call, of several, and of what a pod merges."""

from __future__ import annotations

import pytest

from inferencehub.core.lane.batch import Batch, Reason
from inferencehub.core.lane.job import Job
from inferencehub.core.traces.context import CALL, POD_RUN, Trace, passed_on
from inferencehub.core.traces.runs import MOST_IDS, place_of
from tests.core.lane import jobs

ONE = "4bf92f3577b34da6a3ce929d0e0e4736"


def job(trace: Trace | None) -> Job:
    """A call with this trace."""
    made = jobs.job()
    made.trace = trace
    return made


def trace(number: int, sampled: bool = False) -> Trace:
    return Trace(f"{number:032x}", 16 * number + 1, "", sampled, "a=1")


def test_a_run_of_one_call_is_a_span_of_its_trace() -> None:
    own = trace(1, sampled=True)
    place = place_of([job(own)])
    assert place is not None
    assert [(one.trace_id, one.sampled, one.state) for one in (place.run, place.call)] == [
        (own.trace_id, True, "a=1")
    ] * 2
    assert (place.run.number, place.call.number) == (own.number + POD_RUN, own.number + CALL)
    assert (place.ids, place.span) == ("", None)


@pytest.mark.parametrize("kept", [(), (2,)])
def test_a_run_of_several_is_a_trace_of_its_own_that_is_kept_if_one_of_them_is(kept: tuple[int, ...]) -> None:
    place = place_of([job(trace(number, number in kept)) for number in (1, 2, 2, 3)])
    assert place is not None
    assert place.run is place.call
    assert (place.run.sampled, place.run.state) == (bool(kept), "")
    assert place.span == (place.run.trace_id, place.run.number)
    ids = [f"{number:032x}" for number in (1, 2, 3)]
    assert place.ids.split(",") == ids
    assert place.run.trace_id not in ids


def test_ids_of_many_have_an_end() -> None:
    place = place_of([job(trace(number)) for number in range(1, 1000)])
    assert place is not None
    assert len(place.ids.split(",")) == MOST_IDS


def test_without_traces_there_is_no_place() -> None:
    assert place_of([job(None), job(None)]) is None


@pytest.mark.parametrize(
    ("traces", "found"),
    [
        ((None, None), None),
        ((None, trace(1)), trace(1)),
        ((trace(1), trace(2)), trace(1)),
        ((trace(1), trace(2, sampled=True), trace(3, sampled=True)), trace(2, sampled=True)),
    ],
)
def test_what_a_pod_merges_has_the_place_of_the_first_that_is_kept(
    traces: tuple[Trace | None, ...], found: Trace | None
) -> None:
    assert Batch(tuple(job(one) for one in traces), Reason.FULL).trace == found


def test_a_place_that_is_passed_on_stays_as_it_was() -> None:
    parent = f"00-{ONE}-00f067aa0ba902b7-01"
    found = passed_on(parent.encode(), b"a=1")
    assert found is not None
    assert found.headers == {"traceparent": parent, "tracestate": "a=1"}
    assert passed_on(b"00-no", b"a=1") is None
    assert passed_on(parent.encode(), b"x" * 513) == passed_on(parent.encode(), b"")
