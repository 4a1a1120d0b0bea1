"""One instance of a model's runtime: it runs batches, and gives each caller the outputs in the form that it asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from time import monotonic

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome
from inferencehub.core.lane.sink import Emit, Window
from inferencehub.core.lane.slot import Ran
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import Callers, InferRequest, InferResponse, Times
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.metrics import LaneMetrics
from inferencehub.inference.models.classification import Labels, top_classes
from inferencehub.inference.models.reshape import Reshapes
from inferencehub.inference.runtimes.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Form:
    """The form in which callers of a model give inputs and get outputs.

    Args:
        batches: whether the model batches.
        decoupled: whether it gives several answers.
        reshapes: the config's reshapes; None if it has none.
        labels: the names of classes, by output.
    """

    batches: bool
    decoupled: bool
    reshapes: Reshapes | None
    labels: Labels

    def to_model(self, request: InferRequest) -> InferRequest:
        """A request of a caller as the runtime takes it."""
        return self.reshapes.to_model(request) if self.reshapes else request

    def to_caller(self, outputs: tuple[Tensor, ...], request: InferRequest) -> tuple[Tensor, ...]:
        """The outputs that the request names, in that order and as classes where it asks for them; all if it names none.

        Args:
            outputs: all outputs of the runtime.
            request: the request of the caller.
        """
        if self.reshapes:
            outputs = self.reshapes.to_caller(outputs)
        if not request.outputs:
            return outputs
        by_name = {tensor.name: tensor for tensor in outputs}
        named = [by_name[name] for name in request.outputs]
        for index, count in enumerate(request.classes):
            if count:
                labels = self.labels.get(named[index].name, ())
                named[index] = top_classes(named[index], count, self.batches, labels)
        return tuple(named)


class Instance:
    """One instance of a runtime: a slot of the pod's lane.

    Args:
        index: its number.
        version: the version of its model.
        runtime: the runtime.
        form: the form of requests and answers.
        metrics: the metrics of the model version.
    """

    def __init__(self, index: int, version: str, runtime: Runtime, form: Form, metrics: LaneMetrics) -> None:
        self.index = index
        self.version = version
        self.runtime = runtime
        self.form = form
        self.metrics = metrics

    async def run(self, batch: Batch, emit: Emit) -> Ran:
        """Run a batch on this instance.

        Raises:
            NotAnswered: FAILED if the runtime raised a `HubError`: the model or the request is at fault, not the pod.
        """
        entered = monotonic()
        request = batch.request()
        if self.runtime.needs_callers:
            trace = batch.trace
            context = () if trace is None else (trace.parent, trace.state)
            request = request.with_callers(Callers(batch.ids, len(batch.jobs), *context))
        form = self.form
        if form.decoupled:
            batch.jobs[0].credit = Window(partial(self.runtime.credit, self.index)).credit
        model_request = form.to_model(request)
        started = monotonic()

        def response(outputs: tuple[Tensor, ...]) -> InferResponse:
            return InferResponse(request.model, self.version, form.to_caller(outputs, request))

        if self.runtime.needs_callers and (tell := batch.tell) is not None:
            self.runtime.watch(self.index, tell)
        try:
            outputs = await self.runtime.run(
                self.index, model_request, batch.deadline, lambda part, weight: emit(response(part), weight)
            )
            finished = monotonic()
            if outputs is None:
                answer = None
            elif request.classes:  # sorts, which may take milliseconds
                answer = await asyncio.to_thread(response, outputs)
            else:
                answer = response(outputs)
        except HubError as error:
            raise NotAnswered(Outcome.FAILED, error) from None
        finally:
            if form.decoupled:
                batch.jobs[0].credit = None  # the next run has a window of its own
        ended = monotonic()
        took = ended - entered
        self.metrics.compute.observe(took)
        times = Times(compute=took, input=started - entered, output=ended - finished)
        return Ran(answer, times, version=self.version, rows=batch.rows)
