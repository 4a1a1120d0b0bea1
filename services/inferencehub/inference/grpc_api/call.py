"""A call of a model at a pod, from its arrival to its access line, whichever way it came.

There is an object for it, and no coroutine: who waits for a call of its own awaits its future, and a standing stream
is told when that is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

from inferencehub.core.lane.job import Job, Member
from inferencehub.core.oip import extension
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.requests import RESERVED_PARAMETERS, InferRequest, InferResponse
from inferencehub.inference.models.model import Model
from inferencehub.inference.settings import InferenceSettings

REQUEST_ID = "x-request-id"
ID_LIMIT, IDS_LIMIT = 128, 2000  # characters in the access line, of one id and of all

# gRPC hands over a call every five passes of the loop or so, however many have come. A gateway's were merged there.
PATIENCE = 12


class Call:
    """A call.

    Args:
        model: the model that is called.
        id: the request's own id, "" for none.
        context: the gRPC call or stream that it came by.
        arrived: when, on the clock of `time.monotonic`.
    """

    __slots__ = ("arrived", "context", "future", "id", "job", "model", "rows", "whose")

    def __init__(self, model: Model, id: str, context: Any, arrived: float) -> None:
        self.model = model
        self.id = id
        self.context = context
        self.arrived = arrived
        self.rows = 0
        self.whose: tuple[Member, ...] = ()
        self.job: Job | None = None
        self.future: asyncio.Future[InferResponse]

    def submit(self, request: InferRequest, members: str, seconds: float) -> None:
        """Check the request, and put it into the model's lane; `future` gets the answer.

        Args:
            request: as it came.
            members: `hub_members` as it came, "" where the call is no merge.
            seconds: how long it may last.

        Raises:
            HubError: where it is not accepted.
        """
        model = self.model
        if request.parameters:
            request = without_ours(request)
        lane = model.lane_to_run()
        request, rows = model.info.signature.check(request)
        self.rows = rows
        deadline = self.arrived + seconds
        if members:
            self.whose = extension.members_from_proto(members, self.arrived, deadline)
            if sum([member.rows for member in self.whose]) != rows:
                raise bad_input(f"parameter 'hub_members' speaks of other than the {rows} rows of the inputs")
        else:
            self.whose = (Member(rows, deadline, self.id),)
        self.job = job = Job(request, rows, self.whose, self.arrived)
        self.future = lane.submit(job, 0 if members else PATIENCE)

    def leave(self) -> None:
        """Nobody waits for the answer any more, or it is there."""
        if self.job is not None and self.model.lane is not None:
            self.model.lane.leave(self.job)


class Calls:
    """How calls begin and end.

    Args:
        settings: the service's settings.
        access: where the line of each call goes; None for nowhere.
    """

    def __init__(self, settings: InferenceSettings, access: AccessLog | None) -> None:
        self.settings = settings
        self.access = access

    def begin(self, call: Call, request: InferRequest, members: str) -> None:
        """`Call.submit`; a call that is not accepted has ended.

        Raises:
            HubError: where it is not accepted.
        """
        try:
            call.submit(request, members, self.seconds_left(call.context, request.parameters))
        except Exception as error:
            self.end(call, status_of(error))
            raise

    def end(self, call: Call, status: str) -> None:
        """Count a call that has ended, and write its access line."""
        took = monotonic() - call.arrived
        model = call.model
        model.metrics.called(status, took)
        if self.access is None:
            return
        job = call.job
        times = job.times if job is not None else None
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
        )

    def seconds_left(self, context: Any, parameters: Mapping[str, object]) -> float:
        """The call's own deadline, its `timeout` parameter (microseconds) or the default, whichever ends first."""
        settings = self.settings
        left: float | None = context.time_remaining()
        seconds = settings.default_timeout_ms / 1000 if left is None or left > 1e9 else left
        timeout = parameters.get("timeout")
        if isinstance(timeout, int) and timeout > 0:
            seconds = min(seconds, timeout / 1e6) if left is not None else timeout / 1e6
        return min(seconds, settings.max_timeout_ms / 1000)


def status_of(error: BaseException) -> str:
    """How a call that raised ended, as its access line says it."""
    if isinstance(error, HubError):
        return error.kind.label
    return "cancelled" if isinstance(error, asyncio.CancelledError) else Kind.MODEL_FAILED.label


def without_ours(request: InferRequest) -> InferRequest:
    """The request without the parameter that only says how long it may take, so that it may merge with others.

    Raises:
        HubError: BAD_INPUT where it has one that no model may have.
    """
    if reserved := request.parameters.keys() & RESERVED_PARAMETERS:
        raise bad_input(f"parameter '{min(reserved)}' is not supported")
    if "timeout" not in request.parameters:
        return request
    rest = {name: value for name, value in request.parameters.items() if name != "timeout"}
    return InferRequest(request.model, request.version, request.inputs, request.outputs, rest)


def shown_ids(members: tuple[Member, ...]) -> str:
    """The members' ids with commas, "" where none has one; callers choose them, so their length is bounded."""
    ids = [member.id[:ID_LIMIT] for member in members]
    return ",".join(ids)[:IDS_LIMIT] if any(ids) else ""


def request_id(context: Any) -> str:
    """The caller's request id, from the call's metadata."""
    return next((str(value) for name, value in context.invocation_metadata() or () if name == REQUEST_ID), "")
