"""A model call at a pod, from its arrival to its access line: a unary gRPC call, or a message of a standing stream.

A call is an object, not a coroutine. Its answers go to a sink. The sink of a unary call has a future to await; the sink
of a standing stream writes the answers to the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from inferencehub.core.auth.caller import ANYONE, Caller
from inferencehub.core.grpc_server.unary import at_deadline, own_limit
from inferencehub.core.lane.job import Job, Member
from inferencehub.core.lane.sink import Sink, several_answers
from inferencehub.core.oip import extension
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.values.call_rules import TimeLimits
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.parameters import split_parameters
from inferencehub.core.values.requests import InferRequest
from inferencehub.inference.grpc_api.context import Context
from inferencehub.inference.models.model import Model
from inferencehub.inference.settings import InferenceSettings

REQUEST_ID = "x-request-id"
ID_LIMIT, IDS_LIMIT = 128, 2000  # characters in the access line: of one id, and of all ids

# A call waits for others to merge with until this many passes of the event loop have brought none: gRPC delivers one
# call in about five passes, even if many have arrived. Calls from a gateway do not wait, because it has already merged them.
PATIENCE = 12


class Call:
    """One call of a model.

    Args:
        model: the model that is called.
        id: the request's id; "" if it has none.
        context: the gRPC call or the standing stream on which it arrived.
        arrived: when it arrived, in seconds of `time.monotonic`.
        caller: who makes it; ANYONE for a gateway.
        trace: its place in its trace; None if it has none.

    `tell` is called with how far it is, from 0 to 1, if its caller wants to know.
    """

    __slots__ = ("arrived", "caller", "context", "id", "job", "model", "rows", "tell", "trace", "whose")

    def __init__(
        self,
        model: Model,
        id: str,
        context: Any,
        arrived: float,
        caller: Caller = ANYONE,
        trace: Context | None = None,
    ) -> None:
        self.model = model
        self.id = id
        self.context = context
        self.arrived = arrived
        self.caller = caller
        self.trace = trace
        self.rows = 0
        self.whose: tuple[Member, ...] = ()
        self.job: Job | None = None
        self.tell: Callable[[float], None] | None = None

    def submit(self, request: InferRequest, members: str, limits: TimeLimits, sink: Sink) -> None:
        """Check the request, and put it into the model's lane.

        Args:
            request: the request as received.
            members: the parameter `hub_members` as received; "" if the call is not a merge.
            limits: time limits of the service.
            sink: gets the answers.

        Raises:
            HubError: if the call is not accepted.
        """
        model = self.model
        request, timeout = split_parameters(request)
        lane = model.lane_to_run()
        if model.info.signature.decoupled and not sink.several:
            raise several_answers(model.name)
        request, rows = model.info.signature.check(request)
        self.rows = rows
        deadline = self.arrived + limits.of(own_limit(self.context), timeout)
        if members:
            self.whose = extension.members_from_proto(members, rows, self.arrived, deadline)
        else:
            self.whose = (Member(rows, deadline, self.id, self.caller.id, self.caller.tenant),)
        self.job = job = Job(request, rows, self.whose, self.arrived)
        job.tell = self.tell
        if self.trace is not None:
            job.trace = self.trace.run
        try:
            lane.refuse_in_vain(request.model, job.deadline)
            lane.accept(job, sink, 0 if members else PATIENCE)
        except HubError as error:
            if not members or error.kind is not Kind.BUSY:  # a gateway sends what was refused to another pod
                callers = len(self.whose)
                model.metrics.failed("", callers, callers * (monotonic() - self.arrived))
            raise

    def credit(self, weight: int) -> None:
        """Answers of this weight have reached the caller."""
        if self.job is not None and self.job.credit is not None:
            self.job.credit(weight)

    def leave(self) -> None:
        """End the caller's interest: the caller has left, or has its answer. A call that still waits or runs ends."""
        if self.job is not None and self.model.lane is not None:
            self.model.lane.leave(self.job)


class CallRecorder:
    """Begins calls, and counts and logs their ends.

    Args:
        settings: the service's settings.
        access: the access log; None if access lines are off.
    """

    def __init__(self, settings: InferenceSettings, access: AccessLog | None) -> None:
        self.limits = settings.time_limits
        self.access = access

    def begin(self, call: Call, request: InferRequest, members: str, sink: Sink) -> None:
        """Submit a call (see `Call.submit`). If it is not accepted, also count and log its end.

        Raises:
            HubError: if the call is not accepted.
        """
        try:
            call.submit(request, members, self.limits, sink)
        except Exception as error:
            self.end(call, status_of(error))
            raise

    def end(self, call: Call, status: str) -> None:
        """Count a call that has ended, and write its access line."""
        took = monotonic() - call.arrived
        if status == "cancelled" and at_deadline(left_s := own_limit(call.context), (left_s or 0) + took):
            status = Kind.DEADLINE.label  # gRPC cancels the call then
        model = call.model
        model.metrics.called(status, took)
        if self.access is None:
            return
        job = call.job
        times = job.times if job is not None else None
        callers, tenants = shown_callers(call.whose)
        self.access.write(
            event="call",
            id=shown_ids(call.whose) or (call.id or request_id(call.context))[:ID_LIMIT],
            model=model.name,
            version=model.version,
            status=status,
            rows=call.rows,
            batch=job.batch_rows if job is not None else 0,
            ms=round(took * 1e3, 3),
            queue_ms=round(times.queue * 1e3, 3) if times else 0,
            compute_ms=round(times.compute * 1e3, 3) if times else 0,
            caller=callers or call.caller.id,
            tenant=tenants or call.caller.tenant,
            trace_id=call.trace.ids if call.trace is not None else "",
        )


def status_of(error: BaseException) -> str:
    """The status of a call that raised this error, for its access line and the metrics."""
    if isinstance(error, HubError):
        return error.kind.label
    return "cancelled" if isinstance(error, asyncio.CancelledError) else Kind.MODEL_FAILED.label


def shown_ids(members: tuple[Member, ...]) -> str:
    """The members' ids, separated by commas; "" if none has one. Callers choose ids, so their length is limited."""
    ids = [member.id[:ID_LIMIT] for member in members]
    return ",".join(ids)[:IDS_LIMIT] if any(ids) else ""


def shown_callers(members: tuple[Member, ...]) -> tuple[str, str]:
    """Their callers and tenants, each once, in order and separated by commas, as many as fit into the access line."""
    callers: dict[str, None] = {}
    tenants: dict[str, None] = {}
    for member in members:
        if member.caller:
            callers[member.caller] = None
        if member.tenant:
            tenants[member.tenant] = None
    return ",".join(callers)[:IDS_LIMIT], ",".join(tenants)[:IDS_LIMIT]


def request_id(context: Any) -> str:
    """The caller's request id from the call's metadata; "" if there is none."""
    return next((str(value) for name, value in context.invocation_metadata() or () if name == REQUEST_ID), "")
