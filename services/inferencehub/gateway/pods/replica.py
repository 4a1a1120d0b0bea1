"""A replica: one model version at one pod, with slots for the batches of the gateway's lanes.

The model's config says how many batches the pod runs at a time. The gateway keeps one more on its way, so that the pod
never waits for the network. All other work waits in the gateway, where it can still go to another pod. Gateways that
share a pod do not talk to each other: the pod keeps a short queue and refuses more. A replica that was refused gets no
work until an answer comes or a short time has passed. A pod runs one job at a time that was lost with another pod; while
it refuses the next one, it still gets other work. Answers report the number of free instances; from it the gateway
knows how busy other gateways keep the pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

import grpc

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome
from inferencehub.core.lane.sink import Emit, Window
from inferencehub.core.lane.slot import Ran
from inferencehub.core.oip import extension, messages
from inferencehub.core.oip.parts import parts_from_proto
from inferencehub.core.traces.runs import place_of
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse, Times, Trip
from inferencehub.core.values.signature import ModelInfo
from inferencehub.gateway.pods.link import Failed, Lost, Parts, PodLink
from inferencehub.gateway.pods.stream import LARGE_MESSAGE
from inferencehub.pb.model_config_pb2 import ModelConfig

ON_ITS_WAY = 1  # batches beyond the pod's instances
REFUSED_S = (0.01, 0.5)  # how long a replica that was refused gets no work: the first and the longest time
AGAIN_S = 0.1  # how long one that refused a lost job gets no other lost job
# What status codes mean if the server does not say the kind of the error; with any other code the model failed.
KINDS = {
    grpc.StatusCode.INVALID_ARGUMENT: Kind.BAD_INPUT,
    grpc.StatusCode.NOT_FOUND: Kind.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Kind.BUSY,
    grpc.StatusCode.UNIMPLEMENTED: Kind.UNSUPPORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED: Kind.DEADLINE,
}


class Replica:
    """One model version at one pod; see the module's text.

    Args:
        pod: the pod.
        info: the model, as the pod describes it.
    """

    def __init__(self, pod: PodLink, info: ModelInfo) -> None:
        self.pod = pod
        self.info = info
        self.config: ModelConfig | None = None  # None if the pod gives none
        self.limit = info.slots + ON_ITS_WAY
        self.in_flight = 0
        self.others = 0  # instances that other gateways kept busy when the last answer left
        self.last_used = 0.0
        self._used_s = 0.0  # slot-seconds until `_counted`
        self._counted = monotonic()
        self.refused = False
        self.refused_again = False  # refused the run of a job that was lost before
        self.large = False  # whether the last answer was large
        self._pause = REFUSED_S[0]
        self.freed: list[Callable[[], None]] = []  # the lanes that share it

    @property
    def open(self) -> bool:
        """Whether the pod serves the model."""
        return self.pod.serves(self.info.name)

    @property
    def mergeable_rows(self) -> int:
        """How many rows of several requests it takes together; 0 if each runs by itself."""
        return self.info.signature.mergeable_rows

    @property
    def free(self) -> bool:
        """Whether the replica accepts a batch now."""
        return self.in_flight < self.limit and not self.refused and self.open

    @property
    def free_again(self) -> bool:
        """Whether the replica also accepts a job that was lost with another pod."""
        return self.free and not self.refused_again and not self.pod.tries

    @property
    def spare(self) -> int:
        """Instances that have no work, as far as is known: answers say what others keep busy.

        With no batch of ours there, no answer will come. So there is one at least: it finds out.
        """
        return max(int(not self.in_flight), self.info.slots - self.in_flight - self.others)

    @property
    def load(self) -> float:
        """Batches that run or wait at the pod, per slot."""
        return (self.in_flight + self.others) / self.info.slots

    def enter(self) -> None:
        """A batch takes a slot."""
        self.last_used = now = monotonic()
        self._count(now)
        self.in_flight += 1

    def leave(self) -> None:
        """A batch gives its slot back."""
        self._count(monotonic())
        self.in_flight -= 1

    def used(self, now: float) -> float:
        """Slot-seconds that batches have used up to `now`."""
        self._count(now)
        return self._used_s

    def _count(self, now: float) -> None:
        self._used_s += self.in_flight * (now - self._counted)
        self._counted = now

    async def run(self, batch: Batch, emit: Emit) -> Ran:
        """Send a batch and read its answer; see `Slot.run`.

        Raises:
            NotAnswered: REFUSED if the pod did not start the batch, LOST if the pod went away, FAILED for other errors.
        """
        again = bool(batch.jobs[0].losses)
        if again:
            await self._alive()  # before the time that is left is counted
        now = monotonic()
        ours = self.pod.ours
        if self.info.signature.decoupled and not ours:
            detail = f"model '{self.info.name}' gives several answers, and its server is none of ours"
            raise NotAnswered(Outcome.FAILED, HubError(Kind.UNSUPPORTED, detail))
        members = extension.members_to_text(batch.members, now, self.pod.takes_callers) if ours else ""
        message = messages.request_head(batch.jobs[0].request, members)
        if again and ours:
            message.parameters[extension.AGAIN].bool_param = True
        if len(batch.jobs) > 1:
            for tensor in message.inputs:
                tensor.shape[0] = batch.rows
        place = None if batch.jobs[0].trace is None else place_of(batch.jobs)
        span = None if place is None else place.span
        if place is not None and ours:
            extension.add_trace(message, place.run.parent, place.run.state, place.ids)
        timeout = max(0.001, batch.deadline - now)
        part: Parts | None = None
        tell = batch.tell if ours else None
        if tell is not None:
            message.parameters[extension.PROGRESS].bool_param = True
        if tell is not None or self.info.signature.decoupled:
            answer = partial(self._part, emit, batch) if self.info.signature.decoupled else None
            part = Parts(answer, tell)
        try:
            trace = None if place is None else place.call
            reply = await self.pod.infer(message, batch.raw(), timeout, self.large, part, trace)
        except Failed as failure:
            raise self._failure(batch, failure, monotonic() - now, span) from None
        except Lost:
            raise lost(batch) from None
        self.refused, self._pause = False, REFUSED_S[0]
        ran = self._read(reply, batch.rows, span)
        request = batch.jobs[0].request
        if request.classes and ran.response is not None:
            check_classes(request, ran.response)
        return ran

    def _part(self, emit: Emit, batch: Batch, reply: Any, credit: Callable[[int], None]) -> None:
        """Pass on one of several answers to a batch of one job; `credit` sends credits to the pod."""
        job = batch.jobs[0]
        if not job.has_parts:
            job.credit = Window(credit).credit
            job.trip = Trip(batch.rows, served_by=self.pod.address)
        dropped = extension.dropped_of(reply)
        for response, weight in parts_from_proto(reply):
            emit(response, weight, dropped)

    async def _alive(self) -> None:
        """Ask the pod for an answer: a job must not be blamed for a pod that was lost before it got the job.

        Raises:
            NotAnswered: REFUSED if there is no answer.
        """
        try:
            await self.pod.alive()
        except Lost:
            self.pod.suspect()
            detail = f"the pod that was to run model '{self.info.name}' does not answer"
            raise NotAnswered(Outcome.REFUSED, HubError(Kind.NOT_READY, detail)) from None

    def _read(self, reply: Any, rows: int, span: tuple[str, int] | None) -> Ran:
        parameters = reply.parameters
        times = Times()
        dropped: tuple[int, ...] = ()
        if "hub_compute_us" in parameters:
            times.queue = parameters["hub_queue_us"].int64_param / 1e6
            times.compute = parameters["hub_compute_us"].int64_param / 1e6
            if "hub_input_us" in parameters:
                times.input = parameters["hub_input_us"].int64_param / 1e6
                times.output = parameters["hub_output_us"].int64_param / 1e6
                rows = parameters["hub_rows"].int64_param if "hub_rows" in parameters else 0
            busy = self.info.slots - parameters["hub_free"].int64_param
            self.others = max(0, busy - self.in_flight)
            dropped = extension.dropped_of(reply)
        if extension.END in parameters:
            return Ran(None, times, self.pod.address, dropped, self.info.version, rows, span)
        response = messages.response_from_proto(reply)
        self.large = response.size > LARGE_MESSAGE
        return Ran(response, times, self.pod.address, dropped, response.version, rows, span)

    def _failure(
        self, batch: Batch, failure: Failed, took: float, span: tuple[str, int] | None
    ) -> NotAnswered:
        code = failure.code
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            if failure.refused:
                self._refuse(again=bool(batch.jobs[0].losses))
                return NotAnswered(Outcome.REFUSED, HubError(Kind.BUSY, failure.detail))
            if self.pod.ours:  # our pods mark "busy" as refused; so this is gRPC's limit on messages
                detail = (
                    f"the request is larger than the pods of model '{self.info.name}' take in one message"
                )
                return NotAnswered(Outcome.FAILED, HubError(Kind.TOO_LARGE, detail))
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            self.pod.suspect()
            return lost(batch)
        kind = failure.kind or KINDS.get(code, Kind.MODEL_FAILED)
        detail = failure.detail.strip().split("\n")[0][:500]
        error = HubError(kind, detail or f"model '{self.info.name}' failed")
        times, ran = failure.times, None
        if times is not None:
            ran = Ran(None, times, self.pod.address, span=span).trip(batch.rows, took)
        return NotAnswered(Outcome.FAILED, error, ran)

    def _refuse(self, again: bool) -> None:
        loop = asyncio.get_running_loop()
        if again:
            self.refused_again = True
            loop.call_later(AGAIN_S, self._lift_again)
            return
        self.refused = True
        loop.call_later(self._pause, self._lift)
        self._pause = min(2 * self._pause, REFUSED_S[1])

    def _lift(self) -> None:
        if self.refused:
            self.refused = False
            self.wake()

    def _lift_again(self) -> None:
        self.refused_again = False
        self.wake()

    def wake(self) -> None:
        """Wake the lanes that share this replica: it may be free."""
        for freed in self.freed:
            freed()


def check_classes(request: InferRequest, response: InferResponse) -> None:
    """Refuse plain tensors of a server that does not have the classification extension.

    Raises:
        NotAnswered: FAILED with an error of kind UNSUPPORTED.
    """
    asked = {name for name, count in zip(request.outputs, request.classes, strict=True) if count}
    for tensor in response.outputs:
        if tensor.name in asked and tensor.dtype != "BYTES":
            detail = (
                f"the server of model '{request.model}' gave output '{tensor.name}' without its classes, expected a "
                "request without the parameter 'classification'"
            )
            raise NotAnswered(Outcome.FAILED, HubError(Kind.UNSUPPORTED, detail))


def lost(batch: Batch) -> NotAnswered:
    """The error if the pod went away; it may have run the batch."""
    model = batch.jobs[0].request.model
    return NotAnswered(
        Outcome.LOST,
        HubError(Kind.NOT_READY, f"the pod that ran model '{model}' went away before it answered"),
    )
