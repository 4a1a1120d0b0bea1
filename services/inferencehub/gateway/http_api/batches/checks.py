"""Checks the items of a batch: each goes the way of a call, through its endpoint and the stages, as far as the lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import msgspec

from inferencehub.core.http1.handler import Head
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.submit import Calls, as_hub_error
from inferencehub.gateway.http_api.batches.lines import Line
from inferencehub.gateway.http_api.call import Endpoint, HttpCall
from inferencehub.gateway.http_api.jobs.recorded import Recorded
from inferencehub.gateway.http_api.jobs.request import Kept
from inferencehub.gateway.http_api.page import error_body
from inferencehub.gateway.http_api.response import JSON, WrongMethod
from inferencehub.gateway.jobs.record import Result
from inferencehub.gateway.metrics import FrontMetrics

MOST_TARGET = 2048  # bytes of a path
MOST_ERROR = 2**20  # bytes of an error's answer
# They say nothing of the item: another time it may pass.
FOR_NOW = (Kind.BUSY, Kind.NOT_READY, Kind.DEADLINE)


class Checked(NamedTuple):
    """An item that may run, or why it may not, and what a call would have been answered."""

    model: str = ""
    version: str = ""
    rows: int = 0
    request: bytes = b""
    error: str = ""
    refusal: Result | None = None


class ItemCall(HttpCall):
    """The call of an item. `checked` gets what comes out, `failure` is the error that it ended with."""

    __slots__ = ("checked", "failure")
    checked: asyncio.Future[Checked]
    failure: HubError | None

    def keep(self, kept: Kept, version: str, rows: int) -> None:
        """It has been admitted, and goes no further."""
        exchange = self.exchange
        exchange.deferred = None  # it has this call
        self.ended = True
        self.release()
        del self.reply
        if not self.checked.done():
            packed = msgspec.msgpack.encode(msgspec.structs.replace(kept, sticky=exchange.sticky))
            self.checked.set_result(Checked(exchange.model, version, rows, packed))

    def refused(self, result: Result) -> None:
        """It has been answered, and that is an error."""
        failure = self.failure
        if self.checked.done() or failure is None:
            return
        if failure.kind in FOR_NOW:
            self.checked.set_exception(failure)
        else:
            self.checked.set_result(Checked(self.exchange.model, error=failure.detail, refusal=result))


class Checks:
    """See the module's text; the `WayOut` of these calls.

    Args:
        find: returns the endpoint of a target, whose calls go no further than to the lane.
        calls: where refused callers are noted.
        metrics: those of jobs; items are counted when they run.
        bytes_held, threads: see `WayOut`.
    """

    draining = False

    def __init__(
        self,
        find: Callable[[bytes], Endpoint | None],
        calls: Calls,
        metrics: FrontMetrics,
        bytes_held: ByteBudget,
        threads: ThreadPoolExecutor,
    ) -> None:
        self.find = find
        self.calls = calls
        self.metrics = metrics
        self.bytes_held = bytes_held
        self.threads = threads

    def begin(self, upload: Exchange, id: str, line: Line, fields: dict[bytes, bytes]) -> ItemCall:
        """Begin to check an item; `ItemCall.checked` raises what says nothing of the item: a model that is not served now.

        Args:
            upload: the call that brought it.
            id: of its job, and of its request.
            line: the item.
            fields: of the upload's head, those that hold for its items.
        """
        target = line.url.encode()
        endpoint = self.find(target) if len(target) <= MOST_TARGET and target.isascii() else None
        exchange = Exchange(id)
        exchange.caller, exchange.peer, exchange.limit_s = upload.caller, upload.peer, upload.limit_s
        exchange.fields = upload.fields
        body = bytes(line.body)
        head = Head("POST", target, fields, None, "1.1", len(body), True)
        call = ItemCall(self, head, len(body), exchange, endpoint or NOWHERE)
        call.failure, call.checked = None, asyncio.get_running_loop().create_future()
        call.reply = Recorded(MOST_ERROR, call.refused)
        call.body = body
        call.hold_anyway(self.bytes_held, len(body))
        exchange.deferred = partial(call.keep, Kept(target, fields, body, id, upload.kept_trace))
        try:
            if endpoint is None:
                raise not_called(line.url)
            if line.method != endpoint.method:
                raise WrongMethod(line.method[:40], target, endpoint.method)
            endpoint.begin(call)
        except Exception as error:
            call.fail(error)
        return call

    def lines(self, call: HttpCall, now: float) -> bytes:
        """See `WayOut`."""
        return b""

    def refusal(self, call: HttpCall, error: Exception) -> tuple[int, bytes, Sequence[Buffer]]:
        """See `WayOut`."""
        assert isinstance(call, ItemCall)
        exchange = call.exchange
        refused = as_hub_error(exchange, error)
        self.calls.audit.refused(refused, exchange.peer, exchange.id, exchange.caller)
        call.failure = refused.with_traceback(None)
        return refused.kind.http, JSON, (call.endpoint.error(refused),)

    def again(self, call: HttpCall) -> None:
        """See `WayOut`. Nothing goes on."""

    def close(self, call: HttpCall, status: int, now: float) -> None:
        """See `WayOut`."""
        call.release()
        call.exchange.deferred = None  # it has the call


class Nowhere:
    """The endpoint of paths that call no model: it answers errors."""

    method = "POST"

    def begin(self, call: HttpCall) -> None:
        """See `Endpoint`; never called."""

    def content(self, call: HttpCall, response: object) -> tuple[bytes, Sequence[Buffer]]:
        """See `Endpoint`; never called."""
        return JSON, ()

    def error(self, error: HubError) -> bytes:
        """See `Endpoint`."""
        return error_body(error, "/v2")


NOWHERE = Nowhere()


def not_called(url: str) -> HubError:
    """The error for a path that calls no model."""
    return HubError(
        Kind.NOT_FOUND,
        f"there is no model to call at '{url[:120]}', expected a path such as /v2/models/<model>/infer",
    )
