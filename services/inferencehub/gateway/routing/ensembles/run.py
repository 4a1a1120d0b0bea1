"""One call of an ensemble: its steps enter the lanes of their models, each as soon as its tensors are there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import itemgetter
from time import monotonic
from traceback import clear_frames

from inferencehub.core.lane.job import Job, StepRun
from inferencehub.core.lane.parts import part_of
from inferencehub.core.lane.sink import OneAnswer
from inferencehub.core.lane.slot import Ran
from inferencehub.core.oip.ensembles.steps import Step
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse, Times
from inferencehub.core.values.signature import ModelInfo
from inferencehub.core.values.tensors import Tensor
from inferencehub.gateway.routing.model_lane import ModelLane

# Finds the lane that a request fits, which may take seconds: the request as its model wants it, its lane and its rows.
Find = Callable[[InferRequest, float], Awaitable[tuple[ModelLane, InferRequest, int]]]


class Run:
    """See the module's text.

    Args:
        info: the ensemble.
        steps: in an order in which each comes after those that make what it reads.
        job: the call.
        find: finds the lane of a step, and waits for it until the job's deadline.
    """

    def __init__(self, info: ModelInfo, steps: Sequence[Step], job: Job, find: Find) -> None:
        self._info = info
        self._steps = steps
        self._job = job
        self._find = find
        self._tensors = {tensor.name: tensor for tensor in job.request.inputs}
        # When each step has ended, and the times up to then: its own, and those of the steps that it waited for longest.
        self._ended: dict[int, tuple[float, Times]] = {}
        request = job.request
        self._wanted = request.outputs or tuple([spec.name for spec in info.signature.outputs])
        self._classes = {
            name: count for name, count in zip(request.outputs, request.classes, strict=False) if count
        }
        self._served_by = ""  # the pod of the last step

    async def answer(self) -> Ran:
        """Run all steps.

        Raises:
            HubError: the error of the first step that failed, with the step's name.
        """
        self._check_classes()
        failure: BaseException | None = None
        try:
            await self._run_steps()
        except ExceptionGroup as failures:
            failure = first_of(failures)
            clear_frames(failures.__traceback__)  # one of them may have the error of a cancellation: a cycle
            failures.__traceback__ = None
            if isinstance(failure, HubError):  # a bug keeps its traceback, for the log
                failure.__traceback__ = None
        except asyncio.CancelledError as cancelled:
            failure = cancelled.with_traceback(None)
        if failure is not None:
            # The frames of the group refer to the tasks, and these to their errors: a cycle that would keep the request.
            try:
                raise failure
            finally:
                del failure  # its traceback has this frame
        outputs = tuple([self._tensors[name] for name in self._wanted])
        response = InferResponse(self._info.name, self._info.version, outputs)
        _, times = max(self._ended.values(), key=itemgetter(0))
        return Ran(response, times, self._served_by, version=self._info.version, rows=self._job.rows)

    async def _run_steps(self) -> None:
        tasks: dict[int, asyncio.Task[None]] = {}
        makers: dict[str, int] = {}
        async with asyncio.TaskGroup() as group:
            for step in self._steps:
                before = {makers[name]: tasks[makers[name]] for _, name in step.inputs if name in makers}
                tasks[step.number] = group.create_task(self._step(step, before))
                makers |= {name: step.number for _, name in step.outputs}

    async def _step(self, step: Step, before: Mapping[int, asyncio.Task[None]]) -> None:
        for task in before.values():
            await task
        job: Job | None = None
        began = monotonic()
        try:
            lane, request, rows = await self._find(self._request(step), self._job.deadline)
            job = part_of(self._job, request, rows)
            job.trace = None if job.trace is None else job.trace.child()
            response = await run_in(lane, job)
        except HubError as error:
            # It says nothing of what the caller asked for, but of what the ensemble did.
            kind = Kind.NOT_READY if error.kind is Kind.NOT_FOUND else error.kind
            if job is not None:
                self._job.losses = max(self._job.losses, job.losses)
                self._note(job, began, error.kind.label)
            raise HubError(
                kind, f"{step} of ensemble '{self._info.name}': {error.detail}", error.retry_after
            ) from None
        self._note(job, began, "ok")
        self._take(step, response)
        self._served_by = job.served_by
        _, waited_for = max(
            [self._ended[number] for number in before], default=(0.0, Times()), key=itemgetter(0)
        )
        self._ended[step.number] = monotonic(), sum_of(waited_for, job.times)

    def _request(self, step: Step) -> InferRequest:
        """The call of a step's model; inputs that the caller has left out are not in it."""
        request = self._job.request
        inputs = tuple(
            [
                Tensor(name, tensor.dtype, tensor.shape, tensor.data)
                for name, given in step.inputs
                if (tensor := self._tensors.get(given)) is not None
            ]
        )
        outputs = tuple([name for name, _ in step.outputs])
        classes = tuple([self._classes.get(made, 0) for _, made in step.outputs])
        return InferRequest(
            step.model, step.version, inputs, outputs, request.parameters, classes if any(classes) else ()
        )

    def _note(self, job: Job, began: float, kind: str) -> None:
        """A step has ended: its trace shows it."""
        if job.trace is not None:
            self._job.steps += (StepRun(job, kind, began, monotonic()),)

    def _take(self, step: Step, response: InferResponse) -> None:
        made = {tensor.name: tensor for tensor in response.outputs}
        for name, tensor in step.outputs:
            if name not in made:
                detail = f"{step} of ensemble '{self._info.name}' gave no output '{name}'"
                raise HubError(Kind.MODEL_FAILED, detail)
            found = made[name]
            self._tensors[tensor] = Tensor(tensor, found.dtype, found.shape, found.data)

    def _check_classes(self) -> None:
        """Refuse classes of an output that a further step reads: it would read texts.

        Raises:
            HubError: UNSUPPORTED.
        """
        read = {tensor for step in self._steps for _, tensor in step.inputs}
        for name in self._classes:
            if name in read:
                raise HubError(
                    Kind.UNSUPPORTED,
                    f"model '{self._info.name}': a step reads output '{name}', expected a request without the parameter "
                    "'classification' for it",
                )


def sum_of(before: Times, own: Times) -> Times:
    """The times of steps that run one after the other. The queues are those of the gateway and of pods."""
    return Times(
        before.queue + own.queue + own.batch,
        0.0,
        0.0,
        before.compute + own.compute,
        before.input + own.input,
        before.output + own.output,
    )


async def run_in(lane: ModelLane, job: Job) -> InferResponse:
    """The answer to a job. If the caller is cancelled, so is the job.

    Raises:
        HubError: as the lane says.
    """
    sink = OneAnswer()
    lane.accept(job, sink)
    try:
        return await sink.future
    except asyncio.CancelledError:
        lane.leave(job)
        raise
    finally:
        del sink  # an error's traceback has this frame: a cycle that would keep the request


def first_of(failures: ExceptionGroup) -> Exception:
    """The exception that ended a group, without the group."""
    first = failures.exceptions[0]
    return first_of(first) if isinstance(first, ExceptionGroup) else first
