"""One instance of a model's runtime: it runs batches, and gives each caller the outputs in the form that it asked for."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from inferencehub.core.lane.batch import Batch, NotAnswered, Outcome
from inferencehub.core.lane.sink import Emit
from inferencehub.core.lane.slot import Ran
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferRequest, InferResponse, Times
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.models.classification import top_classes

if TYPE_CHECKING:
    from inferencehub.inference.models.model import Model


class Instance:
    """One instance of a runtime: a slot of the pod's lane."""

    def __init__(self, index: int, model: Model) -> None:
        self.index = index
        self.model = model

    async def run(self, batch: Batch, emit: Emit) -> Ran:
        """Run a batch on this instance.

        Raises:
            NotAnswered: FAILED if the runtime raised a `HubError`: the model or the request is at fault, not the pod.
        """
        model = self.model
        request = batch.request()
        if model.runtime.needs_callers:
            request = request.with_callers(batch.ids, len(batch.jobs))
        reshapes = model.reshapes
        started = monotonic()

        def response(outputs: tuple[Tensor, ...]) -> InferResponse:
            if reshapes:
                outputs = reshapes.to_caller(outputs)
            return InferResponse(request.model, model.version, wanted(outputs, request, model))

        try:
            outputs = await model.runtime.run(
                self.index,
                reshapes.to_model(request) if reshapes else request,
                batch.deadline,
                lambda part: emit(response(part)),
            )
            if outputs is None:
                answer = None
            elif request.classes:  # sorts, which may take milliseconds
                answer = await asyncio.to_thread(response, outputs)
            else:
                answer = response(outputs)
        except HubError as error:
            raise NotAnswered(Outcome.FAILED, error) from None
        took = monotonic() - started
        model.metrics.compute.observe(took)
        return Ran(answer, Times(compute=took))


def wanted(outputs: tuple[Tensor, ...], request: InferRequest, model: Model) -> tuple[Tensor, ...]:
    """The outputs that the request names, in that order and as classes where it asks for them; all if it names none."""
    if not request.outputs:
        return outputs
    by_name = {tensor.name: tensor for tensor in outputs}
    named = [by_name[name] for name in request.outputs]
    batches = bool(model.info.signature.max_batch_size)
    for index, count in enumerate(request.classes):
        if count:
            named[index] = top_classes(named[index], count, batches, model.labels.get(named[index].name, ()))
    return tuple(named)
