"""Flows in a queue: each gets rows by its weight, whoever has more callers, and none can fill the queue for others."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inferencehub.core.auth.caller import Flow
from inferencehub.core.lane.batch import Batch
from inferencehub.core.lane.job import Job
from inferencehub.core.lane.queues.queue import MOST_SHARES, Queue
from inferencehub.core.values.errors import HubError, Kind
from tests.core.lane.jobs import job

A, B, HEAVY = Flow("a", 1.0), Flow("b", 1.0), Flow("heavy", 3.0)


def of(flow: Flow, rows: int = 1, value: float = 1.0) -> Job:
    made = job(rows, value=value)
    made.flow = flow
    return made


def taken(queue: Queue, batches: int) -> list[str]:
    """The flows of the jobs that leave next."""
    left: list[str] = []
    for _ in range(batches):
        batch = queue.take()
        assert batch is not None
        left += [one.flow.name for one in batch.jobs if one.flow is not None]
    return left


def test_one_job_of_a_flow_goes_before_the_second_ones_of_others() -> None:
    queue = Queue(0, 1000)
    for _ in range(500):
        queue.push(of(A))
    taken(queue, 3)
    queue.push(of(B))
    assert taken(queue, 2) == ["b", "a"], "it may go first, for the other has had its turns"
    queue.push(of(B))
    queue.push(of(B))
    assert Counter(taken(queue, 4)) == {"a": 2, "b": 2}


def test_rows_are_shared_by_weight() -> None:
    queue = Queue(0, 1000)
    for _ in range(100):
        queue.push(of(A))
    for _ in range(100):
        queue.push(of(HEAVY))
    assert Counter(taken(queue, 80)) == pytest.approx({"a": 20, "heavy": 60}, abs=1)


def test_a_pause_is_no_credit() -> None:
    queue = Queue(0, 1000)
    for _ in range(100):
        queue.push(of(A))
    taken(queue, 100)
    for _ in range(100):
        queue.push(of(A))
    for _ in range(100):
        queue.push(of(B))
    assert Counter(taken(queue, 40)) == pytest.approx({"a": 20, "b": 20}, abs=1)


@given(st.lists(st.tuples(st.sampled_from([A, B, HEAVY]), st.integers(1, 5)), max_size=60))
def test_while_flows_wait_none_gets_ahead_of_its_weight(jobs: list[tuple[Flow, int]]) -> None:
    """The bound of start-time fair queueing: a job of each flow, for its weight."""
    queue, most = Queue(0, 10_000), 5
    for flow, rows in jobs:
        queue.push(of(flow, rows))
    waiting = Counter[Flow]()
    for flow, _ in jobs:
        waiting[flow] += 1
    served = Counter[Flow]()
    while (batch := queue.take()) is not None:
        (one,) = batch.jobs
        assert one.flow is not None
        served[one.flow] += one.rows
        waiting[one.flow] -= 1
        still = [flow for flow, count in waiting.items() if count]
        for first in still:
            for second in still:
                gap = served[first] / first.weight - served[second] / second.weight
                assert gap <= most / first.weight + most / second.weight


class FairQueue(RuleBasedStateMachine):
    """A queue with flows: nothing is lost, each flow's jobs leave in order, and its shares count what waits."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(4, 10_000)
        self.waiting: list[Job] = []
        self.out: list[Batch] = []
        self.order: dict[Job, int] = {}

    @rule(flow=st.sampled_from([A, B, HEAVY]), rows=st.integers(1, 4), value=st.sampled_from([1.0, 2.0]))
    def push(self, flow: Flow, rows: int, value: float) -> None:
        made = of(flow, rows, value)
        self.order[made] = len(self.order)
        self.queue.push(made)
        self.waiting.append(made)

    @precondition(lambda self: self.waiting)
    @rule()
    def take(self) -> None:
        batch = self.queue.take()
        assert batch is not None
        for one in batch.jobs:
            own = [other for other in self.waiting if other.flow == one.flow]
            assert own[0] is one, "the flow's oldest"
            self.waiting.remove(one)
        self.out.append(batch)

    @precondition(lambda self: self.out)
    @rule()
    def put_back(self) -> None:
        jobs = self.out.pop().jobs
        self.queue.put_back(jobs)
        self.waiting = sorted([*self.waiting, *jobs], key=self.order.__getitem__)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        chosen = self.waiting[data.draw(st.integers(0, len(self.waiting) - 1))]
        assert self.queue.remove(chosen)
        self.waiting.remove(chosen)

    @invariant()
    def all_is_counted(self) -> None:
        assert self.queue.rows == sum(one.rows for one in self.waiting)
        assert len(self.queue) == len(self.waiting)
        assert all(first.turn <= second.turn for first, second in pairwise(self.queue.jobs))
        for flow in (A, B, HEAVY):
            rows = sum(one.rows for one in self.waiting if one.flow == flow)
            share = self.queue._shares.get(flow.name)
            assert (share.rows if share is not None else 0) == rows


TestFairQueue = FairQueue.TestCase


def test_a_full_queue_takes_the_last_of_the_largest_flow() -> None:
    queue = Queue(0, 10)
    greedy = [of(A) for _ in range(10)]
    for one in greedy:
        queue.push(one)
    newcomer = of(B)
    with pytest.raises(HubError) as caught:
        queue.push(newcomer)
    assert caught.value.kind is Kind.BUSY
    assert queue.giver(of(A)) is None, "its own flow has the most"
    assert queue.giver(newcomer) is greedy[-1]
    queue.remove(greedy[-1])
    queue.push(newcomer)
    for _ in range(4):
        giver = queue.giver(of(B))
        assert giver is not None
        queue.remove(giver)
        queue.push(of(B))
    assert queue.giver(of(B)) is None, "five of each"
    assert Counter(taken(queue, 10)) == {"a": 5, "b": 5}
    assert queue.giver(job()) is None, "a job without a flow"


def test_the_wait_is_foretold_for_each_flow() -> None:
    queue = Queue(0, 1000)
    now = monotonic()
    for _ in range(120):
        made = of(A)
        made.arrived = now - 1.0
        queue.push(made)
    taken(queue, 20)
    assert queue.wait(now, A) == pytest.approx(100 * 1.0 / 20, rel=0.1)
    assert queue.wait(now) == queue.wait(now, A)
    assert queue.wait(now, B) < 0.2


def test_where_nothing_waits_nobody_is_behind() -> None:
    queue = Queue(0, 1000)
    queue.push(of(A, rows=64))
    taken(queue, 1)
    queue.push(of(B))
    taken(queue, 1)
    first, second = of(A), of(B)
    queue.push(first)
    queue.push(second)
    assert first.turn == second.turn


def test_jobs_of_one_turn_keep_their_order() -> None:
    queue = Queue(8, 1000)
    jobs = [of(Flow(name, 1.0)) for name in "abcd"]
    for one in jobs:
        queue.push(one)
    batch = queue.take()
    assert batch is not None
    assert list(batch.jobs) == jobs
    queue.put_back(batch.jobs)
    assert list(queue.jobs) == jobs


def test_rows_that_were_lost_give_no_room() -> None:
    queue = Queue(0, 10)
    for flow, count in ((A, 6), (B, 4)):
        for _ in range(count):
            queue.push(of(flow))
    lost = []
    while (batch := queue.take()) is not None:
        (one,) = batch.jobs
        one.losses = int(one.flow == A)
        lost.append(one)
    queue.put_back(lost)
    giver = queue.giver(of(HEAVY))
    assert giver is not None
    assert giver.flow == B


def test_another_weight_changes_nothing_for_what_waits() -> None:
    queue = Queue(0, 1000)
    first, second = of(A), of(A)
    queue.push(first)
    queue.push(second)
    heavier = of(Flow("a", 0.01))
    queue.push(heavier)
    queue.remove(first)
    last = of(A)
    queue.push(last)
    assert [one.turn for one in (second, heavier, last)] == sorted(
        one.turn for one in (second, heavier, last)
    )
    assert last.turn > heavier.turn


def test_flows_that_are_gone_fill_no_memory() -> None:
    queue = Queue(0, 1000)
    for number in range(3 * MOST_SHARES):
        queue.push(of(Flow(f"tenant {number}", 1.0)))
        taken(queue, 1)
    assert len(queue._shares) <= MOST_SHARES + 1
