"""The gRPC edge: what happens to every call on its way in and out.

In:  a request id, taken from the metadata `x-request-id` or made; the call's deadline; the checks of stages.
Out: errors with the status code of their kind; the trailers `x-request-id`, `x-served-by` and, where a retry makes
sense, `grpc-retry-pushback-ms`; one access line; one observation in the metrics.

The messages of a stream pass the same way, each as a call of its own (`begin` to `close`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from secrets import token_hex
from time import monotonic
from typing import Any

import grpc
from google.protobuf.message import Message

from inferencehub.core.auth.caller import Action
from inferencehub.core.grpc_server.coding import decode, encode
from inferencehub.core.grpc_server.connections.callers import Callers
from inferencehub.core.grpc_server.credentials import encoded, fields_of, peer_of
from inferencehub.core.grpc_server.unary import at_deadline, ending, own_limit, parsed, written
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.logs import now as wall_clock
from inferencehub.core.traces.context import PARENT, joined
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.submit import Calls, as_hub_error
from inferencehub.gateway.calls.usage import Usage
from inferencehub.gateway.grpc_api.access_line import write_line
from inferencehub.gateway.grpc_api.jobs.asked import ASYNC
from inferencehub.gateway.metrics import FrontMetrics

SOUND_ID = re.compile(r"[!-~]{1,128}")
OK_STATUS, OK = 200, "OK"
# gRPC delivers one call in about five passes of the event loop, even if many have arrived. A pass in which nothing comes
# takes some µs, and a batch that is small costs its pod far more.
PATIENCE = 40
LONGEST_PUSHBACK_S = 100
RETRIED = (Kind.BUSY, Kind.NOT_READY)

# What a method does with a request's message, or with its bytes where it reads them itself. Its answer may be serialized.
Work = Callable[[Exchange, Any], Awaitable[Message | bytes]]
# The same for a call that is to become a job, see `jobs/asked.py`; it gets the call's metadata first.
Later = Callable[[Mapping[bytes, bytes], Exchange, Any], Awaitable[Message | bytes]]


class Edge:
    """See the module's text.

    Args:
        calls: where calls of models go.
        metrics: where calls are counted.
        access: where access lines go; None to write none.
        most_bytes: the largest request that is accepted.
        most_answer_bytes: the largest answer that is sent.
        callers: counts what has come, and large answers until their callers have taken them.
        usage: where callers' calls are counted; None if nobody is asked who they are.
        knows_callers: whether there are rules for callers.
    """

    def __init__(
        self,
        calls: Calls,
        metrics: FrontMetrics,
        access: AccessLog | None,
        most_bytes: int,
        most_answer_bytes: int,
        callers: Callers,
        usage: Usage | None,
        knows_callers: bool,
    ) -> None:
        self.calls = calls
        self.usage = usage
        self.knows_callers = knows_callers
        self.metrics = metrics
        self.access = access
        self.most_bytes = most_bytes
        self.most_answer_bytes = most_answer_bytes
        self.callers = callers
        self.held: asyncio.Event | None = None  # while the port ends, answers wait for this event
        self._prefix = token_hex(6)
        self._number = 0
        self.begun = 0  # calls that have arrived so far

    def unary(
        self,
        name: str,
        work: Work,
        request: type[Message] | None,
        action: Action | None = Action.INFER,
        later: Later | None = None,
    ) -> Any:
        """A gRPC handler.

        Args:
            name: the method's name, for access lines.
            work: does it; what it raises becomes the call's status code.
            request: class of the request message; None if `work` wants the bytes.
            action: what it does; None for what everybody may do.
            later: does it for calls with the metadata `hub-async`; None where that says nothing.
        """

        async def call(data: bytes, context: Any) -> bytes | None:
            metadata = context.invocation_metadata() or ()
            exchange = self.begin(context, metadata)
            self.callers.half.took(len(data), context)
            error: HubError | None = None
            try:
                exchange.limit_s = own_limit(context)
                exchange.action = action
                fields = self.check(exchange, metadata, len(data))
                data, coding = await decode(
                    data, min(self.most_bytes, exchange.most_bytes or self.most_bytes)
                )
                exchange.size = len(data)
                message = data if request is None else parsed(request, data)
                do = work if later is None or ASYNC not in fields else partial(later, fields)
                answer = written(await do(exchange, message), exchange.model, self.most_answer_bytes)
                if self.held is not None:
                    await self.held.wait()
                if coding:
                    await encode(answer, coding, context)
                context.set_trailing_metadata(self.trailers(exchange, None))
                self.callers.unread.hold(len(answer), context)
                return answer
            except BaseException as raised:
                error = self.failure(exchange, raised)
                if not isinstance(raised, Exception):
                    raise
            finally:
                self.close(exchange, name, error)
            kind, detail = ending(error, name, None)
            try:
                await context.abort(grpc.StatusCode[kind.grpc], detail, self.trailers(exchange, error))
            finally:  # gRPC keeps the exception, whose traceback has this frame: a cycle that would keep the request
                del data, error, context, exchange
            return None

        return grpc.unary_unary_rpc_method_handler(call)

    # --- the way in ---

    def begin(self, context: Any, metadata: Any) -> Exchange:
        """The exchange of a call that has just arrived."""
        self.begun += 1
        self.metrics.in_flight += 1
        for name, value in metadata:
            if name == "x-request-id" and SOUND_ID.fullmatch(value):
                id = value
                break
        else:
            self._number += 1
            id = f"{self._prefix}-{self._number:x}"
        exchange = Exchange(id)
        if self.knows_callers:
            exchange.peer = peer_of(context)
        return exchange

    def check(self, exchange: Exchange, metadata: Any, size: int) -> Mapping[bytes, bytes]:
        """Check a call before its message is read. Returns its metadata as stages read it.

        Args:
            exchange: the call.
            metadata: its metadata.
            size: bytes of its message.

        Raises:
            HubError: if the message is too large, or a stage refuses the call.
        """
        if size > self.most_bytes:
            raise HubError(
                Kind.TOO_LARGE, f"the request has {size} bytes, expected at most {self.most_bytes}"
            )
        fields = fields_of(metadata)
        fields[b"content-length"] = b"%d" % size
        if exchange.action is not None:
            if self.calls.traces is not None:
                exchange.trace = self.calls.traces.begin(
                    joined(encoded(metadata)) if PARENT in fields else fields
                )
            for check in self.calls.checks:
                check(exchange, fields)
        exchange.size = size
        exchange.patience = PATIENCE
        return fields

    def again(self, exchange: Exchange, metadata: Any) -> None:
        """Check whether a call whose answers go on may do so.

        Raises:
            HubError: if a stage says that it may not.
        """
        if self.calls.agains:
            fields = fields_of(metadata)
            for again in self.calls.agains:
                again(exchange, fields)

    # --- the way out ---

    def failure(self, exchange: Exchange, error: BaseException) -> HubError:
        """The error with which a call ends; the work for it stops."""
        exchange.leave()
        if isinstance(error, Exception):
            return as_hub_error(exchange, error).with_traceback(None)
        took, limit_s = monotonic() - exchange.started, exchange.limit_s
        if limit_s is not None and at_deadline(limit_s - took, limit_s):
            return HubError(Kind.DEADLINE, "the call's deadline has passed")  # gRPC cancels the call then
        return HubError(Kind.CALLER_LEFT, "the caller has left")

    def trailers(self, exchange: Exchange, error: HubError | None) -> tuple[tuple[str, str], ...]:
        """The metadata at the end of a call."""
        trailers = [("x-request-id", exchange.id), *exchange.trailers]
        job = exchange.job
        if job is not None and job.served_by:
            trailers.append(("x-served-by", job.served_by))
        if error is not None and error.kind in RETRIED and not exchange.trailers:  # a job has failed for good
            # A client would wait for it as long as its deadline lets it; -1 says that it is not to try again by itself.
            pushback_ms = 1000 * error.retry_after if error.retry_after <= LONGEST_PUSHBACK_S else -1
            trailers.append(("grpc-retry-pushback-ms", str(pushback_ms)))
        return tuple(trailers)

    def close(self, exchange: Exchange, method: str, error: HubError | None) -> None:
        """Count a call that has ended, and write its access line."""
        if exchange.metered:
            exchange.end()
        status, code = OK_STATUS, OK
        if error is not None:
            status, code, exchange.kind = error.kind.http, error.kind.grpc, error.kind.label
            self.calls.audit.refused(error, exchange.peer, exchange.id, exchange.caller)
        now = monotonic()
        took = now - exchange.started
        self.metrics.answered(exchange, status, took)
        if self.calls.traces is not None and exchange.trace is not None:
            self.calls.traces.ended(exchange, self.metrics, method, b"", status, now)
        if self.usage is not None and exchange.action is not None:
            self.usage.ended(exchange, wall_clock())
        if self.access is not None:
            write_line(self.access, "grpc", exchange, method, status, code, took)
