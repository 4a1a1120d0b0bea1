"""Background work in a queue behind calls: calls go first, it gets its floor and what calls leave, turns are fair in each."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inferencehub.core.auth.caller import Flow
from inferencehub.core.lane.batch import Batch
from inferencehub.core.lane.job import Job
from inferencehub.core.lane.load_shedding import RunTimes
from inferencehub.core.lane.queues.background import STARVED_S, Background
from inferencehub.core.lane.queues.in_use import LATELY_S, InUse
from inferencehub.core.lane.queues.queue import Queue
from tests.core.lane.jobs import job
from tests.core.lane.slots import Pool, Worker, at_once

A, B, HEAVY = Flow("a", 1.0), Flow("b", 1.0), Flow("heavy", 3.0)
ROWS = st.lists(st.integers(1, 4), min_size=1, max_size=60)
SLOTS: Pool = Pool(at_once, 1)


def of(rows: int = 1, flow: Flow | None = None, kind: int = 0, background: bool = False) -> Job:
    made = job(rows, deadline=5.0, arrived=0.0, parameters={"kind": kind})
    made.flow = flow
    if background:
        made.to_background()
    return made


class Both:
    """A queue of calls and one of background work, in front of slots of which one becomes free after the other."""

    def __init__(self, max_rows: int, floor: float) -> None:
        self.max_rows = max_rows
        self.calls, self.behind = Queue(max_rows, 10_000), Background(max_rows, 10_000, floor)
        self.in_use = InUse()
        self.in_use.jobs = 1  # of a lane that is not empty

    def push(self, *jobs: Job) -> None:
        for one in jobs:
            (self.behind if one.background else self.calls).push(one)

    def take(self, slots: Pool = SLOTS, now: float = 0.0) -> Batch | None:
        if self.behind.rows:
            found = self.behind.next_of_both(self.calls, slots, now, RunTimes(), self.in_use)
        else:
            found = self.calls.next(slots)
        if found is None:
            return None
        slot, _, batch = found
        slots.give(slot)
        return batch


def rows_of(batch: Batch) -> tuple[int, int]:
    """Rows of calls and of background work."""
    behind = sum(one.rows for one in batch.jobs if one.background)
    return batch.rows - behind, behind


@given(ROWS, ROWS, st.sampled_from([0, 4, 8]), st.integers(0, 1))
def test_without_a_floor_background_work_gets_only_what_no_call_can_have(
    calls: list[int], behind: list[int], max_rows: int, kind: int
) -> None:
    both = Both(max_rows, 0.0)
    both.push(*[of(rows) for rows in calls], *[of(rows, kind=kind, background=True) for rows in behind])
    left = 0
    while (batch := both.take()) is not None:
        left += len(batch.jobs)
        first = both.calls.jobs[0] if both.calls.jobs else None
        if any(one.background for one in batch.jobs) and first is not None:
            assert not batch.jobs[0].background
            assert batch.rows + first.rows > max_rows
        kinds = [one.background for one in batch.jobs]
        assert kinds == sorted(kinds), "calls, then the others"
        assert len({one.key for one in batch.jobs}) == 1
        assert batch.rows <= max_rows or len(batch.jobs) == 1
    assert left == len(calls) + len(behind)


@example([1] * 13 + [2, 2, 1], [1] * 10 + [4], 4, 1, 0.3)
@given(ROWS, ROWS, st.sampled_from([0, 4, 8]), st.integers(0, 1), st.sampled_from([0.01, 0.1, 0.3, 0.5]))
def test_while_both_wait_background_work_gets_its_floor_and_calls_the_others(
    calls: list[int], behind: list[int], max_rows: int, kind: int, floor: float
) -> None:
    """A batch that calls can't share counts as a full one."""
    both = Both(max_rows, floor)
    if not max_rows:
        calls, behind = [1] * len(calls), [1] * len(behind)
    both.push(*[of(rows) for rows in 3 * calls], *[of(rows, kind=kind, background=True) for rows in behind])
    full, each = max(1, max_rows), floor / (1 - floor)
    served = counted = taken = 0
    while both.calls.rows and both.behind.rows:
        batch = both.take()
        assert batch is not None
        of_calls, of_behind = rows_of(batch)
        served += of_calls
        count = of_behind if of_calls else max(of_behind, max_rows)
        counted += count
        if batch.jobs[0].background:  # else it has what calls left
            taken += count
        assert taken <= each * served + full + 3
        if both.calls.rows and both.behind.rows:
            assert counted >= each * served - (1 + each) * full - 4


@given(st.lists(st.tuples(st.sampled_from([A, B, HEAVY]), st.integers(1, 4), st.booleans()), max_size=90))
def test_each_class_has_fair_turns_of_its_own(jobs: list[tuple[Flow, int, bool]]) -> None:
    """The bound of start-time fair queueing, in each of them: a job of each flow, for its weight."""
    both, most = Both(0, 0.3), 4
    waiting, served = Counter[tuple[bool, Flow]](), Counter[tuple[bool, Flow]]()
    for flow, rows, background in jobs:
        both.push(of(rows, flow, background=background))
        waiting[background, flow] += 1
    while (batch := both.take()) is not None:
        for one in batch.jobs:
            assert one.flow is not None
            served[one.background, one.flow] += one.rows
            waiting[one.background, one.flow] -= 1
        for background in (False, True):
            still = [flow for flow in (A, B, HEAVY) if waiting[background, flow]]
            for first in still:
                for second in still:
                    gap = (
                        served[background, first] / first.weight - served[background, second] / second.weight
                    )
                    assert gap <= most / first.weight + most / second.weight


def test_one_row_in_ten() -> None:
    both = Both(10, 0.1)
    both.push(*[of() for _ in range(900)], *[of(background=True) for _ in range(200)])
    shares = [rows_of(batch) for _ in range(100) if (batch := both.take()) is not None]
    assert sum(calls for calls, _ in shares) == 900
    assert sum(behind for _, behind in shares) == pytest.approx(100, abs=2)
    assert max(behind for _, behind in shares) <= 2, "each batch has some, none is theirs alone"


def test_what_it_had_while_no_call_came_is_no_debt_and_a_pause_is_no_credit() -> None:
    both = Both(0, 0.1)
    both.push(*[of(background=True) for _ in range(500)])
    for _ in range(100):
        assert both.take() is not None
    both.push(*[of() for _ in range(1000)])
    order = [batch.jobs[0].background for _ in range(200) if (batch := both.take()) is not None]
    assert sum(order) == pytest.approx(20, abs=2)
    both.behind.jobs.clear()
    both.behind.rows = 0
    for _ in range(300):
        assert both.take() is not None
    both.push(*[of(background=True) for _ in range(100)])
    order = [batch.jobs[0].background for _ in range(100) if (batch := both.take()) is not None]
    assert sum(order) == pytest.approx(10, abs=2)


def test_it_takes_no_place_on_the_way_to_a_pod_unless_it_is_due() -> None:
    both, slots = Both(0, 0.1), Pool(at_once, 1, kept=1)
    both.push(*[of(background=True) for _ in range(5)])
    assert both.take(slots) is None
    for _ in range(9):
        both.push(of())
        batch = both.take(slots)
        assert batch is not None
        assert rows_of(batch) == (1, 0)
    batch = both.take(slots)
    assert batch is not None
    assert rows_of(batch) == (0, 1), "nine calls have left"
    assert both.take(slots) is None


class Slotted(Both):
    """Both queues in front of a number of slots, which are used until `end`."""

    def __init__(self, slots: int) -> None:
        super().__init__(0, 0.1)
        self.slots = Pool(at_once, slots)
        self.runs: list[tuple[Worker, Batch]] = []
        self.in_use.jobs = 0

    def begin(self, now: float) -> str:
        """What begins at a time: calls as c, background work as b."""
        begun = ""
        while len(self.calls) or len(self.behind):
            found = self.behind.next_of_both(self.calls, self.slots, now, RunTimes(), self.in_use)
            if found is None:
                break
            slot, _, batch = found
            self.in_use.began(batch, now)
            self.runs.append((slot, batch))
            begun += "b" if batch.jobs[0].background else "c"
        return begun

    def end(self, background: bool) -> None:
        """All runs of a kind end."""
        for slot, batch in [run for run in self.runs if run[1].jobs[0].background is background]:
            self.runs.remove((slot, batch))
            self.slots.give(slot)
            self.in_use.ended(batch)


def test_as_many_slots_stay_idle_as_calls_have_needed_lately() -> None:
    both = Slotted(4)
    both.push(*[of(background=True) for _ in range(100)])
    assert both.begin(0.0) == "bbbb", "no call has come"
    both.push(of(), of())
    both.end(background=True)
    assert both.begin(0.5) == "ccbb"
    both.end(background=False)
    assert both.begin(1.1) == "", "the two slots of calls are idle"
    both.push(of())
    assert both.begin(1.2) == "c"
    both.end(background=True)
    assert both.begin(1.3) == "bb", "one is in use, and one is idle"
    both.push(of(), of())
    assert both.begin(1.4) == "c"
    both.end(background=True)
    assert both.begin(1.5) == "cb", "now calls use three"
    both.end(background=False)
    both.end(background=True)
    both.push(of())
    assert sorted(both.begin(1.5 + LATELY_S)) == ["b", "c"], "and needed three lately"
    both.end(background=True)
    assert both.begin(1.5 + 3 * LATELY_S) == "bbb", "that was long ago"


def test_one_slot_is_never_only_for_calls() -> None:
    both = Slotted(2)
    both.push(*[of(background=True) for _ in range(10)], of(), of())
    assert both.begin(0.0) == "cc"
    both.end(background=False)
    assert both.begin(0.1) == "b"
    assert both.begin(0.2) == ""
    both.end(background=True)
    assert both.begin(0.3) == "b"


def test_what_calls_run_counts_however_long_it_runs() -> None:
    both = Slotted(3)
    both.push(*[of(background=True) for _ in range(10)], of(), of())
    assert both.begin(0.0) == "ccb"
    both.end(background=True)
    both.begin(10 * LATELY_S)
    both.end(background=False)
    both.end(background=True)
    assert both.begin(10 * LATELY_S + 1) == "b", "two slots are left to calls that ended a moment ago"


def test_a_job_of_more_rows_than_are_ever_owed_gets_its_turn() -> None:
    """Of a model that runs one job at a time; what it has taken is paid off before the next one."""
    both = Both(0, 0.1)
    both.push(of(8, background=True), of(8, background=True), *[of() for _ in range(200)])
    turns = [rows_of(batch)[1] for _ in range(100) if (batch := both.take()) is not None]
    assert [number for number, rows in enumerate(turns) if rows] == [9, 83]


def test_it_does_not_starve_behind_calls_that_its_lane_does_not_see() -> None:
    slots = Pool(at_once, 1, kept=1)
    for floor in (0.0, 0.1):
        both = Both(0, floor)
        both.push(of(background=True), of(background=True))
        both.in_use.jobs = 0
        assert both.take(slots, STARVED_S - 0.1) is None
        both.in_use.jobs = 1
        assert both.take(slots, STARVED_S + 0.1) is None, "it runs"
        both.in_use.jobs = 0
        assert (both.take(slots, STARVED_S + 0.1) is not None) is bool(floor)
        assert both.take(slots, STARVED_S + 0.2) is None, "one, not all"
        assert (both.take(slots, 2 * STARVED_S + 0.2) is not None) is bool(floor)


def test_what_was_lost_runs_alone_and_holds_up_no_call() -> None:
    class NoneAgain(Pool):
        def take(self, again: bool = False, at_once: bool = False) -> Worker | None:
            return None if again else super().take(again, at_once)

    both = Both(4, 0.5)
    lost = of(background=True)
    lost.losses = 1
    both.push(lost, *[of() for _ in range(40)])
    slots = NoneAgain(at_once, 1)
    for _ in range(8):
        batch = both.take(slots)
        assert batch is not None
        assert rows_of(batch) == (4, 0)
    both.push(*[of(background=True) for _ in range(40)])
    batch = both.take()
    assert batch is not None
    assert batch.jobs == (lost,)
    rest = [rows_of(batch) for _ in range(4) if (batch := both.take()) is not None]
    assert sum(calls for calls, _ in rest) >= 4, "what was owed in vain has a bound"
