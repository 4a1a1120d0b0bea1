"""Calls that become jobs: a ModelInfer with the metadata `hub-async`.

Such a call goes the way of every other one, through all stages and the checks of its model, as far as the lane. There it is
kept in place of being run. So what would be refused at once is refused at once.

If the job ends while the caller waits, its answer is the call's. Else the answer has no outputs, and the parameter `hub_job`
with the id of the job: client libraries that do not show the metadata of answers show parameters. The trailers `hub-job` and
`hub-durability` come with both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.lane.sink import End
from inferencehub.core.oip.messages import with_parameters
from inferencehub.core.oip.raw_fields import read_request
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.grpc_api.infer import Infer
from inferencehub.gateway.grpc_api.jobs.answers import KINDS, headers_of, patience
from inferencehub.gateway.grpc_api.jobs.asked import refuse_job, wait_of
from inferencehub.gateway.grpc_api.jobs.request import LARGE, packed
from inferencehub.gateway.jobs.fronts.headers import job_headers
from inferencehub.gateway.jobs.fronts.keeping import Admitted, keep
from inferencehub.gateway.jobs.record import JobRecord
from inferencehub.gateway.jobs.store import gone
from inferencehub.gateway.jobs.submit import Jobs
from inferencehub.gateway.jobs.webhooks.targets import Target
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import open_inference_pb2 as pb

JOB, DURABILITY, SERVED_BY = "hub-job", "hub-durability", "x-served-by"


class Admission:
    """The sink of a call that is not run: `future` gets what the way to the lane has said of it, or the `HubError`.

    Args:
        target: where the end of its job is told; None for nowhere.
    """

    several = False

    def __init__(self, target: Target | None) -> None:
        self._target = target
        self.future: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()

    def admitted(self, version: str, rows: int) -> None:
        """See `Exchange`, `deferred`."""
        if not self.future.done():
            self.future.set_result(Admitted(version, rows, self._target))

    def part(self, response: InferResponse, weight: int) -> None:
        """See `Sink`. Nothing runs, so nothing comes."""

    def end(self, end: End) -> None:
        """See `Sink`."""
        if self.future.done():
            return
        if isinstance(end, HubError) and end.kind is not Kind.CALLER_LEFT:
            self.future.set_exception(end)
        else:
            self.future.cancel()


class Deferral:
    """Makes jobs of calls.

    Args:
        jobs: where they go.
        infer: what they pass before, and what runs calls that are to be none.
        bytes_held: the process's budget; it has the request as long as the call has it.
    """

    def __init__(self, jobs: Jobs, infer: Infer, bytes_held: ByteBudget) -> None:
        self.jobs = jobs
        self.infer = infer
        self.bytes_held = bytes_held

    async def model_infer(
        self, fields: Mapping[bytes, bytes], exchange: Exchange, data: bytes
    ) -> pb.ModelInferResponse | bytes:
        """ModelInfer with the metadata `hub-async`.

        Args:
            fields: the call's metadata.
            exchange: the call.
            data: a serialized ModelInferRequest.

        Raises:
            HubError: if the call is refused, or its job has failed while the caller waited.
        """
        wait_s = wait_of(fields)
        if wait_s is None:
            return await self.infer.infer(exchange, data)
        said, size = job_headers(fields), len(data)
        admission = Admission(self.jobs.targets.of(said.webhook) if said.webhook else None)
        message, raw = read_request(data)
        exchange.deferred = admission.admitted
        try:
            self.infer.submit(exchange, message, raw, admission)
            admitted = await admission.future
        finally:
            exchange.deferred = None
        if exchange.forwarded is not None:
            data = with_parameters(data, exchange.forwarded)
        self._take(exchange, size)  # gRPC has the message until the call is answered
        try:
            pack = partial(self._packed, exchange, data, message, raw)
            owner, record = await keep(self.jobs, self.bytes_held, exchange, said, admitted, 0, pack)
            exchange.trailers = ((JOB, record.id), (DURABILITY, self.jobs.store.durability))
            return await self._answer(exchange, owner, record, wait_s, message.id)
        finally:
            self.bytes_held.give(size)

    async def predict(
        self, fields: Mapping[bytes, bytes], exchange: Exchange, message: predict_pb.PredictRequest
    ) -> predict_pb.PredictResponse:
        """Predict with the metadata `hub-async`: its answer has no place for the id of a job.

        Raises:
            HubError: UNSUPPORTED if the call is to be a job, or as `Infer.predict`.
        """
        refuse_job(fields, "Predict")
        return await self.infer.predict(exchange, message)

    def _take(self, exchange: Exchange, size: int) -> None:
        try:
            self.bytes_held.take(size)
        except HubError:
            exchange.give_back()
            raise

    async def _packed(
        self, exchange: Exchange, data: bytes, message: pb.ModelInferRequest, raw: Sequence[Buffer]
    ) -> tuple[bytes, str]:
        """The request as it is kept, and its digest; a thread makes those of a large one."""
        pack = partial(packed, exchange.id, data, message, raw, exchange.kept_trace, exchange.sticky)
        if len(data) < LARGE:
            return pack()
        packing = asyncio.ensure_future(asyncio.to_thread(pack))
        try:
            return await asyncio.shield(packing)
        except asyncio.CancelledError:  # the caller has left, and the thread has the request
            self.bytes_held.add(len(data))
            packing.add_done_callback(lambda _: self.bytes_held.give(len(data)))
            raise

    async def _answer(
        self, exchange: Exchange, owner: str, record: JobRecord, wait_s: int, id: str
    ) -> pb.ModelInferResponse | bytes:
        """The answer of the job, if it comes within the time that the caller waits, or one that names the job."""
        if wait_s:
            record = await self.jobs.wait(owner, record.id, patience(exchange, wait_s))
        if not record.state.ended:
            answer = pb.ModelInferResponse(model_name=record.model, model_version=record.version, id=id)
            for name, value in exchange.trailers:
                answer.parameters[name.replace("-", "_")].string_param = value
            return answer
        if not record.status:
            raise gone(record)
        status, lines, body = await self.jobs.store.result(owner, record.id)
        if served_by := headers_of(lines).get(SERVED_BY):
            exchange.trailers += ((SERVED_BY, served_by),)
        if status in KINDS:
            raise HubError(KINDS[status], record.error)
        return body
