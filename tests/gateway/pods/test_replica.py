"""A replica whose pod refuses work."""

from __future__ import annotations

from time import monotonic
from typing import Any

import grpc

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome, Reason
from inferencehub.core.lane.job import Job, Member
from inferencehub.core.oip import extension
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import ModelInfo, Signature
from inferencehub.gateway.pods.link import Failed
from inferencehub.gateway.pods.replica import Replica
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import eventually


class Refusing:
    """A pod that refuses what is lost with another pod; and all other work where it is `full`."""

    tries, address, pool, ours, takes_callers = False, "pod:1", "", True, True

    def __init__(self, full: bool) -> None:
        self.full = full

    def serves(self, name: str) -> bool:
        return True

    async def infer(self, message: Any, raw: Any, timeout: float, large: bool, part: Any, trace: Any) -> Any:
        if self.full or extension.AGAIN in message.parameters:
            raise Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", refused=True)
        return pb.ModelInferResponse()

    async def alive(self) -> None:
        pass

    def tried(self) -> None:
        pass

    def suspect(self) -> None:
        pass


def batch(losses: int) -> Batch:
    """A batch of one job."""
    now = monotonic()
    job = Job(InferRequest("m", "1", ()), 1, (Member(1, now + 60, ""),), now)
    job.losses = losses
    return Batch((job,), Reason.ALONE)


async def run(replica: Replica, losses: int) -> Outcome | None:
    """How a job ends that was lost before so many times; None if it is answered."""
    try:
        await replica.run(batch(losses), lambda *answer: None)
    except NotAnswered as failure:
        return failure.outcome
    return None


async def test_a_pod_that_refuses_a_second_run_still_gets_other_work() -> None:
    replica = Replica(Refusing(full=False), ModelInfo("m", "1", "", Signature((), ())))
    assert (replica.free, replica.free_again) == (True, True)
    assert await run(replica, losses=1) is Outcome.REFUSED
    assert (replica.free, replica.free_again) == (True, False)
    assert await run(replica, losses=0) is None
    assert (replica.free, replica.free_again) == (True, False)  # the answer says nothing about second runs
    woken: list[bool] = []
    replica.freed.append(lambda: woken.append(replica.free_again))
    await eventually(lambda: woken == [True])


async def test_a_full_pod_gets_nothing_for_a_moment() -> None:
    replica = Replica(Refusing(full=True), ModelInfo("m", "1", "", Signature((), ())))
    assert await run(replica, losses=0) is Outcome.REFUSED
    assert (replica.free, replica.free_again) == (False, False)
    await eventually(lambda: replica.free)
