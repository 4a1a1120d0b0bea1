"""The pure rules of the lane, on examples from Hypothesis."""

from __future__ import annotations

from math import inf, prod
from struct import unpack_from
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome, Reason
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.job import Job, Member, drop_expired, merge_key
from inferencehub.core.lane.queues.queue import Queue
from inferencehub.core.lane.retries import RetryBudget, may_run_again
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse, Parameter
from inferencehub.core.values.tensors import DTYPES, Tensor, pack_bytes
from tests.core.lane.jobs import echo, job, request, values

LIMIT = 20


class QueueRules(RuleBasedStateMachine):
    """A queue beside a list of its jobs in order of arrival; every job is in exactly one place at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.pushed: list[Job] = []
        self.waiting: list[Job] = []
        self.out: list[Batch] = []
        self.ended: list[Job] = []
        self.budget = RetryBudget(share=0.0, most=3.0)
        self.queue = Queue(0, LIMIT)

    @initialize(max_rows=st.sampled_from([0, 1, 4, 7]))
    def begin(self, max_rows: int) -> None:
        self.queue = Queue(max_rows, LIMIT)

    @rule(rows=st.lists(st.integers(1, 9), min_size=1, max_size=4), kind=st.sampled_from(["a", "a", "b"]))
    def push(self, rows: list[int], kind: str) -> None:
        for each in rows:
            self.push_one(each, kind)

    def push_one(self, rows: int, kind: str) -> None:
        new = job(rows, parameters={"kind": kind})
        if self.queue.rows >= LIMIT:
            with pytest.raises(HubError) as refusal:
                self.queue.push(new)
            assert refusal.value.kind is Kind.BUSY
            return
        self.queue.push(new)
        self.pushed.append(new)
        self.waiting.append(new)

    @precondition(lambda self: self.queue.lost)
    @rule()
    def take_lost(self) -> None:
        batch = self.queue.take_lost()
        assert batch == Batch((self.waiting.pop(0),), Reason.ALONE)
        self.out.append(batch)

    @rule()
    def take(self) -> None:
        lost, waiting = [w for w in self.waiting if w.losses], [w for w in self.waiting if not w.losses]
        batch = self.queue.take()
        if batch is None:
            assert not waiting
            return
        jobs, most = list(batch.jobs), self.queue.max_rows
        assert jobs == waiting[: len(jobs)]
        assert batch.rows == sum(one.rows for one in jobs)
        assert len(jobs) == 1 or batch.rows <= most
        assert len({one.request.parameters["kind"] for one in jobs}) == 1
        assert len(jobs) == 1 or not any(one.alone for one in jobs)
        waiting = waiting[len(jobs) :]
        self.waiting = [*lost, *waiting]
        self.out.append(batch)
        if jobs[0].alone or not most:
            assert batch.reason is Reason.ALONE
            return
        assert batch.reason is (Reason.FULL if batch.rows >= most else Reason.SLOT_FREE)
        if waiting:
            following = waiting[0]
            fits = batch.rows + following.rows <= most and following.key == jobs[0].key
            assert following.alone or not fits, "it left without one that might have gone with it"

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def answer(self, data: Any) -> None:
        batch = data.draw(st.sampled_from(self.out))
        self.out.remove(batch)
        parts = batch.split(echo(batch))
        assert [values(part) for part in parts] == [values(one.request) for one in batch.jobs]
        self.ended += batch.jobs

    @precondition(lambda self: self.out)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), at_most_once=st.booleans())
    def fail(self, data: Any, outcome: Outcome, at_most_once: bool) -> None:
        batch = data.draw(st.sampled_from(self.out))
        self.out.remove(batch)
        failure = NotAnswered(outcome, HubError(Kind.MODEL_FAILED, "no"))
        verdicts = may_run_again(batch, failure, at_most_once, self.budget)
        back = [one for one, again in zip(batch.jobs, verdicts, strict=True) if again]
        self.queue.put_back(back)
        order = {one: (not one.losses, index) for index, one in enumerate(self.pushed)}
        self.waiting = sorted([*back, *self.waiting], key=order.__getitem__)
        self.ended += [one for one in batch.jobs if one not in back]

    @precondition(lambda self: self.pushed)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        one = data.draw(st.sampled_from(self.pushed))
        waits = one in self.waiting
        assert self.queue.remove(one) == waits
        if waits:
            self.waiting.remove(one)
            self.ended.append(one)

    @invariant()
    def order_is_kept(self) -> None:
        assert self.queue.waiting() == self.waiting
        assert len(self.queue) == len(self.waiting)

    @invariant()
    def rows_are_counted(self) -> None:
        assert self.queue.rows == sum(one.rows for one in self.waiting)

    @invariant()
    def each_job_is_in_one_place(self) -> None:
        places = [*self.waiting, *[one for batch in self.out for one in batch.jobs], *self.ended]
        assert sorted(map(id, places)) == sorted(map(id, self.pushed))


TestQueueRules = QueueRules.TestCase
TestQueueRules.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


def test_a_full_queue_takes_back_what_it_had_accepted() -> None:
    queue = Queue(4, 2)
    queue.push(job(2))
    batch = queue.take()
    assert batch is not None
    queue.push(job(2))
    queue.put_back(batch.jobs)
    assert queue.rows == 4
    with pytest.raises(HubError, match="model 'm' is busy: 4 rows wait for it and its limit is 2"):
        queue.push(job())


def test_batches_that_return_late_stand_in_order_of_arrival() -> None:
    queue = Queue(1, 10)
    jobs = [job() for _ in range(4)]
    for one in jobs:
        queue.push(one)
    out = [queue.take(), queue.take(), queue.take()]
    for batch in (out[0], out[2], out[1]):
        assert batch is not None
        queue.put_back(batch.jobs)
    assert queue.waiting() == jobs


def test_who_runs_alone_takes_nobody_along_and_joins_nobody() -> None:
    queue = Queue(4, 10)
    first, second, third, last = jobs = [job() for _ in range(4)]
    for one in jobs:
        queue.push(one)
    out = queue.take()
    assert out is not None
    assert out.jobs == (first, second, third, last)
    second.alone = True
    queue.put_back(out.jobs)
    batches = [queue.take() for _ in range(3)]
    assert [(batch.jobs, batch.reason) for batch in batches if batch] == [
        ((first,), Reason.SLOT_FREE),
        ((second,), Reason.ALONE),
        ((third, last), Reason.SLOT_FREE),
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request([1.0]), request([1.0], model="n")),
        (request([1.0]), replace(request([1.0]), version="2")),
        (request([1.0]), replace(request([1.0]), outputs=("y",))),
        (request([1.0], parameters={"p": 1}), request([1.0], parameters={"p": True})),
        (request([1.0], parameters={"p": 1}), request([1.0], parameters={"p": 1.0})),
        (request([1.0], parameters={"p": 1}), request([1.0], parameters={"p": 1, "q": 1})),
        (request([1.0]), replace(request([1.0]), inputs=(Tensor("x", "FP32", (1, 2), bytes(8)),))),
        (request([1.0]), replace(request([1.0]), inputs=(Tensor("x", "INT32", (1, 1), bytes(4)),))),
        (request([1.0]), replace(request([1.0]), inputs=(Tensor("y", "FP32", (1, 1), bytes(4)),))),
        (request([1.0]), replace(request([1.0]), inputs=())),
    ],
    ids=[
        "model",
        "version",
        "outputs",
        "bool-int",
        "int-float",
        "parameters",
        "shape",
        "dtype",
        "name",
        "count",
    ],
)
def test_what_differs_in_more_than_rows_does_not_merge(one: InferRequest, other: InferRequest) -> None:
    assert merge_key(one) != merge_key(other)


def test_rows_bytes_and_the_order_of_parameters_do_not_keep_calls_apart() -> None:
    left: dict[str, Parameter] = {"a": 1, "b": "x"}
    right: dict[str, Parameter] = {"b": "x", "a": 1}
    assert merge_key(request([1.0], parameters=left)) == merge_key(request([2.0, 3.0], parameters=right))


@st.composite
def tensors(draw: st.DrawFn, name: str, rows: list[int]) -> list[Tensor]:
    """Tensors that may be merged: one dtype, one shape behind the first dimension, so many rows each."""
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    rest = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    made = []
    for count in rows:
        elements = count * prod(rest)
        if dtype == "BYTES":
            data = pack_bytes(draw(st.lists(st.binary(max_size=5), min_size=elements, max_size=elements)))
        else:
            size = elements * DTYPES[dtype]
            data = draw(st.binary(min_size=size, max_size=size))
        made.append(Tensor(name, dtype, (count, *rest), data))
    return made


def row_bytes(tensor: Tensor) -> list[bytes]:
    """The bytes of each row, found by walking from element to element."""
    data, offset, rows = bytes(tensor.data), 0, []
    for _ in range(tensor.shape[0]):
        begin = offset
        for _ in range(prod(tensor.shape[1:])):
            offset += DTYPES[tensor.dtype] or 4 + unpack_from("<I", data, offset)[0]
        rows.append(data[begin:offset])
    return rows


def row_wise(call: InferRequest) -> InferResponse:
    """A model: of each input itself, a checksum a row, and each row as an element of bytes."""
    outputs: list[Tensor] = []
    for tensor in call.inputs:
        rows = row_bytes(tensor)
        sums = b"".join(crc32(row).to_bytes(4, "little") for row in rows)
        outputs += [
            replace(tensor, name=f"{tensor.name} itself"),
            Tensor(f"{tensor.name} sums", "UINT32", (len(rows),), sums),
            Tensor(f"{tensor.name} rows", "BYTES", (len(rows), 1), pack_bytes(rows)),
        ]
    return InferResponse(call.model, "1", tuple(outputs), {"note": "kept"})


def plain(response: InferResponse) -> list[object]:
    """An answer as values that can be compared."""
    tensors = [(t.name, t.dtype, t.shape, bytes(t.data)) for t in response.outputs]
    return [response.model, response.version, dict(response.parameters), *tensors]


@st.composite
def calls(draw: st.DrawFn) -> list[InferRequest]:
    """Calls of one model that may be merged."""
    rows = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    columns = [draw(tensors(name, rows)) for name in draw(st.sampled_from([["a"], ["a", "b"]]))]
    return [InferRequest("m", "", inputs) for inputs in zip(*columns, strict=True)]


def job_of(call: InferRequest) -> Job:
    rows = call.inputs[0].shape[0]
    return Job(call, rows, (Member(rows, inf, ""),), 0.0)


@settings(max_examples=300, deadline=None)
@given(calls())
def test_a_merged_answer_equals_the_separate_ones(separate: list[InferRequest]) -> None:
    batch = Batch(tuple(map(job_of, separate)), Reason.SLOT_FREE)
    assert len({one.key for one in batch.jobs}) == 1
    merged = row_wise(batch.request())
    assert [plain(part) for part in batch.split(merged)] == [plain(row_wise(call)) for call in separate]


def test_an_answer_with_other_rows_than_the_batch_cannot_be_split() -> None:
    batch = Batch((job(2), job(1)), Reason.SLOT_FREE)
    short = InferResponse("m", "1", (Tensor("x", "FP32", (2, 1), bytes(8)),))
    with pytest.raises(ValueError, match=r"output 'x' of shape \[2, 1\] for 3 rows"):
        batch.split(short)


MEMBERS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9)), min_size=1, max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.data(), MEMBERS, st.lists(st.integers(0, 10), min_size=1, max_size=3))
def test_drop_expired_keeps_the_rows_of_those_who_still_want_them(
    data: Any, members: list[tuple[int, int]], looks: list[int]
) -> None:
    parts = data.draw(tensors("x", [rows for rows, _ in members]))
    whole = Batch(tuple(job_of(InferRequest("m", "", (part,))) for part in parts), Reason.SLOT_FREE)
    listed = tuple(Member(rows, end, str(index)) for index, (rows, end) in enumerate(members))
    merged = Job(whole.request(), whole.rows, listed, 0.0)
    size, left = merged.size, list(range(len(members)))
    for now in sorted(looks):
        live = [index for index in left if members[index][1] > now]
        if live and len(left) > 1:
            left = live
        drop_expired(merged, float(now))
    assert [member.id for member in merged.members] == [str(index) for index in left]
    assert merged.rows == merged.request.inputs[0].shape[0] == sum(members[index][0] for index in left)
    assert row_bytes(merged.request.inputs[0]) == [row for index in left for row in row_bytes(parts[index])]
    assert merged.dropped == [index for index in range(len(members)) if index not in left]
    assert merged.size == size, "the budget gives back what it took"


def test_a_batch_is_wanted_until_its_last_job_is() -> None:
    batch = Batch((job(deadline=3.0), job(deadline=5.0), job(deadline=4.0)), Reason.SLOT_FREE)
    assert batch.deadline == 5.0
    assert [member.deadline for member in batch.members] == [3.0, 5.0, 4.0]


@pytest.mark.parametrize(
    ("outcome", "jobs", "at_most_once", "losses", "retries", "again"),
    [
        (Outcome.REFUSED, 1, False, 0, 0, True),
        (Outcome.REFUSED, 2, True, 9, 0, True),
        (Outcome.LOST, 1, False, 0, 1, True),
        (Outcome.LOST, 2, False, 0, 1, True),
        (Outcome.LOST, 2, False, 0, 0, False),
        (Outcome.LOST, 1, False, 1, 9, False),
        (Outcome.LOST, 1, True, 0, 9, False),
        (Outcome.FAILED, 2, False, 0, 0, True),
        (Outcome.FAILED, 1, False, 0, 9, False),
        (Outcome.FAILED, 2, True, 0, 9, False),
    ],
)
def test_who_may_run_again(
    outcome: Outcome, jobs: int, at_most_once: bool, losses: int, retries: int, again: bool
) -> None:
    batch = Batch(tuple(job() for _ in range(jobs)), Reason.SLOT_FREE)
    for one in batch.jobs:
        one.losses = losses
    failure = NotAnswered(outcome, HubError(Kind.MODEL_FAILED, "no"))
    budget = RetryBudget(most=float(retries))
    assert may_run_again(batch, failure, at_most_once, budget) == [again] * jobs
    assert all(one.alone == (outcome is Outcome.FAILED) for one in batch.jobs)
    lost = outcome is Outcome.LOST and not at_most_once
    assert [one.losses for one in batch.jobs] == [losses + lost] * jobs
    assert budget.saved == retries - (lost and losses), "a second run that was lost costs a retry"


@given(st.integers(1, 100), st.lists(st.integers(0, 60)))
def test_a_byte_budget_is_never_overdrawn(limit: int, sizes: list[int]) -> None:
    budget = ByteBudget(limit)
    held: list[int] = []
    for size in sizes:
        if sum(held) + size > limit:
            with pytest.raises(HubError) as refusal:
                budget.take(size)
            assert refusal.value.kind is (Kind.TOO_LARGE if size > limit else Kind.BUSY)
            if held:
                budget.give(held.pop(0))
        else:
            budget.take(size)
            held.append(size)
        assert budget.held == sum(held) <= limit


@given(st.integers(0, 5), st.lists(st.booleans(), max_size=100))
def test_retries_are_a_share_of_first_tries(most: int, tries: list[bool]) -> None:
    budget, earned, spent = RetryBudget(share=0.25, most=float(most)), 0, 0
    for first in tries:
        if first:
            budget.earn()
            earned += 1
        else:
            had = budget.saved
            assert budget.spend() == (had >= 1.0)
            spent += had >= 1.0
        assert 0.0 <= budget.saved <= most
        assert spent <= most + earned * 0.25
