"""Turns a request into a job in a lane: sets its deadline, finds its lane, runs the stages.

A call of a known model becomes a job at once. A call that has to wait first gets its own task: it waits for a model
that may still appear, or for a thread that packs many numbers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from time import monotonic
from typing import Any

from inferencehub.core.auth.audit import Audit
from inferencehub.core.lane.job import Job, Member
from inferencehub.core.lane.sink import Sink, caller_left, several_answers
from inferencehub.core.oip.predict import predict_request
from inferencehub.core.oip.unnamed_model import kind_of
from inferencehub.core.process.settings import TierSettings
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.parameters import split_parameters
from inferencehub.core.values.requests import InferRequest, Parameter
from inferencehub.core.values.structs.struct import replace
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.limits.lease import Awaited
from inferencehub.gateway.calls.stages import Stage
from inferencehub.gateway.calls.traces.ended import CallTraces
from inferencehub.gateway.calls.traffic.moving import move
from inferencehub.gateway.calls.traffic.shadow import shadowed
from inferencehub.gateway.routing.fit import Make, Ready, best_first, fit, made_for
from inferencehub.gateway.routing.model_lane import ModelLane
from inferencehub.gateway.routing.table import RoutingTable
from inferencehub.gateway.routing.unknown_models import UnknownModels

logger = logging.getLogger(__name__)

MANY_FEATURES = 2**16  # packing more takes some ms, so a thread does it
Put = Callable[[Exchange, InferRequest, list[ModelLane], Sink], None]


class Calls:
    """Accepts calls from all fronts.

    Args:
        table: the lanes of known models.
        unknown: where requests for other models wait.
        settings: time limits and default models.
        stages: the rules that each call passes, in order.

    `traces` notes the calls whose traces are kept; None where there are no traces.
    """

    def __init__(
        self, table: RoutingTable, unknown: UnknownModels, settings: TierSettings, stages: Sequence[Stage]
    ) -> None:
        self.table = table
        self.unknown = unknown
        self.settings = settings
        self.limits = settings.time_limits
        self.audit = Audit()
        self.traces: CallTraces | None = None
        self.stages = stages
        # Only methods that a stage overrides are called. Fronts call `checks` when a request's head is complete.
        self.checks = [stage.check for stage in stages if type(stage).check is not Stage.check]
        self.agains = [stage.again for stage in stages if type(stage).again is not Stage.again]
        self._names = [stage.named for stage in stages if type(stage).named is not Stage.named]
        self._admits = [stage.admit for stage in stages if type(stage).admit is not Stage.admit]

    def submit(self, exchange: Exchange, request: InferRequest, sink: Sink) -> None:
        """Run a request; its answers go to `sink`. A front whose caller has left calls `exchange.leave`.

        Raises:
            HubError: if the request is refused at once; later errors go to `sink`.
        """
        timeout: Parameter | None = None
        if request.parameters:
            request, timeout = split_parameters(request)
        self._set_deadline(exchange, timeout)
        if self._names:
            self._name(exchange, request.model)
        lanes = self.table.known(request.model, request.version, exchange)
        if lanes:
            self._put(exchange, request, lanes, sink)
        elif not self._deferred(exchange, request, sink):
            work = self._when_known(exchange, request.model, request.version, lambda info: request)
            self._later(exchange, sink, self._put, work)

    def submit_made(
        self, exchange: Exchange, model: str, version: str, make: Make, sink: Sink, beside: bool = False
    ) -> None:
        """Run a request that can be made only once its model is known.

        Args:
            exchange: the call.
            model, version: as in `InferRequest`.
            make: makes the request for the model. Errors that it raises are the caller's.
            sink: gets the answers.
            beside: whether `make` takes some ms, so that a thread does it.

        Raises:
            HubError: if the request is refused at once; later errors go to `sink`.
        """
        self._set_deadline(exchange, None)
        self._name(exchange, model)
        lanes = self.table.known(model, version, exchange)
        if lanes and not beside:
            self._put_made(exchange, *made_for(best_first(lanes), make), sink)
        elif lanes or not self._deferred(exchange, InferRequest(model, version, ()), sink):
            work = self._when_known(exchange, model, version, make, beside)
            self._later(exchange, sink, self._put_made, work)

    def predict(
        self, exchange: Exchange, model: str, features: Sequence[float] | None, text: str | None, sink: Sink
    ) -> None:
        """Run a call of /predict: `features` or `text` becomes the first input of `model`.

        If `model` is "", the model follows from the settings and from the models that there are.

        Raises:
            HubError: if the call is refused at once; later errors go to `sink`.
        """
        self._set_deadline(exchange, None)
        by_caller = bool(model)
        model = model or self.settings.model_for(text) or self.table.unnamed[kind_of(text)]
        if model and self._names:
            self._name(exchange, model, by_caller)
        lanes = self.table.known(model, "", exchange)
        if lanes and (features is None or len(features) <= MANY_FEATURES):
            exchange.model = lanes[0].info.name
            if len(lanes) == 1:
                request = predict_request(lanes[0].info, "", features, text)
                if lanes[0].info.signature.first_is_all:
                    self._accept(exchange, lanes[0], request, 1, sink)  # it was made for this signature
                else:
                    self._put(exchange, request, lanes, sink)
            else:
                make = partial(predict_request, version="", features=features, text=text)
                self._put_predict(exchange, *made_for(best_first(lanes), make), sink)
        elif lanes or not self._deferred(exchange, InferRequest(model, "", ()), sink):
            work = self._when_packed(exchange, model, features, text)
            self._later(exchange, sink, self._put_predict, work)

    def _name(self, exchange: Exchange, model: str, by_caller: bool = True) -> None:
        for named in self._names:
            named(exchange, model, by_caller)

    def _deferred(self, exchange: Exchange, request: InferRequest, sink: Sink) -> bool:
        """Whether a call is a job of a pool that sleeps, which nobody waits for: what needs its model is checked when it runs.

        A version that is named may not be there, and then the job would wait for ever: such a call waits for the pool.

        Raises:
            HubError: if the caller may not have it.
        """
        if exchange.deferred is None or request.version or not self.table.asleep(request.model):
            return False
        exchange.model = request.model
        self._put_deferred(exchange, request, [], sink)
        return True

    def _put_deferred(
        self, exchange: Exchange, request: InferRequest, lanes: list[ModelLane], sink: Sink
    ) -> None:
        assert exchange.deferred is not None
        try:
            for admit in self._admits:
                admit(exchange, request, 1)
        except Awaited as awaited:
            self._later(exchange, sink, self._put_deferred, awaited.then(exchange.deadline, (request, lanes)))
            return
        except HubError:
            exchange.give_back()
            raise
        exchange.deferred(request.version, 1)

    def _set_deadline(self, exchange: Exchange, timeout: Parameter | None) -> None:
        if timeout is None and exchange.limit_s is None:
            exchange.deadline = exchange.started + self.limits.default_s
        else:
            exchange.deadline = exchange.started + self.limits.of(exchange.limit_s, timeout)

    def _put(self, exchange: Exchange, request: InferRequest, lanes: list[ModelLane], sink: Sink) -> None:
        lane, request, rows = fit(lanes, request)
        self._accept(exchange, lane, request, rows, sink)

    def _put_made(
        self, exchange: Exchange, request: InferRequest, lanes: list[ModelLane], sink: Sink
    ) -> None:
        if request.parameters:
            request, timeout = split_parameters(request)
            self._set_deadline(exchange, timeout)
        self._put(exchange, request, lanes, sink)

    def _put_predict(
        self, exchange: Exchange, request: InferRequest, lanes: list[ModelLane], sink: Sink
    ) -> None:
        if len(lanes) == 1 and lanes[0].info.signature.first_is_all:
            self._accept(exchange, lanes[0], request, 1, sink)  # the request was made for this signature
        else:
            self._put(exchange, request, lanes, sink)

    def _accept(
        self, exchange: Exchange, lane: ModelLane, request: InferRequest, rows: int, sink: Sink
    ) -> None:
        exchange.lane, exchange.model = lane, lane.info.name
        named = request
        if exchange.chosen is not None:
            request = replace(request, version=exchange.chosen.name)
        try:
            if lane.info.signature.decoupled and not sink.several:
                raise several_answers(lane.info.name)
            for admit in self._admits:
                admit(exchange, request, rows)
            if exchange.deferred is not None:
                exchange.deferred(request.version, rows)
                return
            caller, forwarded = exchange.caller, exchange.forwarded
            member = Member(rows, exchange.deadline, exchange.id, caller.id, caller.tenant)
            full = request if forwarded is None else request.with_parameters(forwarded)
            job = Job(full, rows, (member,), monotonic())
            job.flow, job.tell, job.trace = caller.flow, exchange.tell, exchange.trace
            if exchange.losses is not None:
                job.losses, job.counted, job.alone = exchange.losses, True, exchange.losses > 0  # the cause?
                job.to_background()
            job.move = partial(move, self.table, exchange) if exchange.chosen and not named.version else None
            if self.table.traffic is not None and (shadow := self.table.traffic.shadow(lane.info.name)):
                sink = shadowed(self.table, shadow, lane, job, sink)
            exchange.job = job
            lane.accept(job, sink, exchange.patience)
        except Awaited as awaited:
            self._later(exchange, sink, self._put, awaited.then(exchange.deadline, (named, [lane])))
        except HubError:
            lane.observer.failed(request.version, 1, monotonic() - exchange.started)
            if exchange.metered:
                exchange.give_back()
            raise

    def _later(self, exchange: Exchange, sink: Sink, put: Put, work: Coroutine[Any, Any, Ready]) -> None:
        """Run `work` in a task, then `put` its result into a lane; until then the request counts as held bytes.

        Raises:
            HubError: BUSY if the process holds too many bytes.
        """
        try:
            self.table.bytes_held.take(exchange.size)
        except HubError:
            work.close()
            raise
        exchange.waiting = asyncio.get_running_loop().create_task(work)
        exchange.waiting.add_done_callback(partial(self._waited, exchange, sink, put))

    def _waited(self, exchange: Exchange, sink: Sink, put: Put, task: asyncio.Task[Ready]) -> None:
        self.table.bytes_held.give(exchange.size)
        exchange.waiting = None
        if task.cancelled() or exchange.left:
            sink.end(caller_left(exchange.model))
            return
        failure = task.exception()  # not raised: the traceback would keep the request alive
        if failure is not None:
            error = failure if isinstance(failure, Exception) else RuntimeError(str(failure))
            sink.end(as_hub_error(exchange, error))
            return
        try:
            put(exchange, *task.result(), sink)
        except Exception as error:
            sink.end(as_hub_error(exchange, error))

    async def _when_known(
        self, exchange: Exchange, model: str, version: str, make: Make, beside: bool = False
    ) -> Ready:
        lanes = self.table.known(model, version, exchange)
        if not lanes:
            within_s, sees = exchange.deadline - monotonic(), exchange.caller.sees
            lanes = await self.unknown.lanes(model, version, within_s, sees, exchange)
        exchange.model = lanes[0].info.name
        if beside:
            return await asyncio.to_thread(made_for, best_first(lanes), make)
        return made_for(best_first(lanes), make)

    async def _when_packed(
        self, exchange: Exchange, model: str, features: Sequence[float] | None, text: str | None
    ) -> Ready:
        if not model:
            within_s, sees = exchange.deadline - monotonic(), exchange.caller.sees
            model = await self.unknown.unnamed(kind_of(text), within_s, sees)
            self._name(exchange, model, by_caller=False)
        make = partial(predict_request, version="", features=features, text=text)
        return await self._when_known(exchange, model, "", make, beside=True)


def as_hub_error(exchange: Exchange, error: Exception) -> HubError:
    """The error that the caller gets for an exception; an unexpected exception is logged."""
    if isinstance(error, HubError):
        return error
    logger.error("request failed", extra={"id": exchange.id, "model": exchange.model}, exc_info=error)
    detail = f"the gateway failed on this request; its log has it under {exchange.id}"
    return HubError(Kind.MODEL_FAILED, detail)
