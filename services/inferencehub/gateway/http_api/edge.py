"""The HTTP edge: what happens to every request on its way in and out.

In:  a request id, taken from `X-Request-Id` or made; the time limit; the checks of stages; the endpoint of the path.
Out: errors in the endpoint's shape, with the status of their kind; `X-Request-Id`, `Server-Timing`, `X-Served-By`,
`X-Model-Version`; one access line; one observation in the metrics.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from secrets import token_hex
from time import monotonic
from urllib.parse import unquote

from inferencehub.core.auth.caller import Action
from inferencehub.core.auth.proxies import FORWARDED
from inferencehub.core.http1.asgi import AsgiHandler
from inferencehub.core.http1.handler import Head, Reply, Request
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.logs import now as wall_clock
from inferencehub.core.traces.context import joined
from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.tensors import Buffer
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.submit import Calls, as_hub_error
from inferencehub.gateway.calls.usage import Usage
from inferencehub.gateway.http_api.access_line import PATH_LIMIT, write_line
from inferencehub.gateway.http_api.call import Endpoint, HttpCall
from inferencehub.gateway.http_api.cors import Cors
from inferencehub.gateway.http_api.jobs.deferral import Deferral
from inferencehub.gateway.http_api.page import PageCall, error_body, nothing_at
from inferencehub.gateway.http_api.response import KINDS, NO_SNIFFING, SharedLines, WrongMethod, error_lines
from inferencehub.gateway.metrics import FrontMetrics

SOUND_ID = re.compile(rb"[!-~]{1,128}")


class Edge:
    """The handler of the gateway's port.

    Args:
        find: returns the endpoint of a target; None for all other targets.
        pages: answers all other targets.
        calls: where calls of models go.
        metrics: where answers are counted.
        access: where access lines go; None to write none.
        cors: which pages of other origins may call; None for none.
        most_bytes: the largest body that is accepted.
        usage: where callers' calls are counted; None if nobody is asked who they are.

    `deferral` makes jobs of calls that ask for it; None where there are none.
    """

    def __init__(
        self,
        find: Callable[[bytes], Endpoint | None],
        pages: AsgiHandler,
        calls: Calls,
        metrics: FrontMetrics,
        access: AccessLog | None,
        cors: Cors | None,
        most_bytes: int,
        usage: Usage | None,
    ) -> None:
        self.deferral: Deferral | None = None
        self.usage = usage
        self.find = find
        self.pages = pages
        self.calls = calls
        self.metrics = metrics
        self.access = access
        self.draining = False  # True when the process is about to end: answers then close their connections
        self.cors = cors
        self.most_bytes = most_bytes
        self.bytes_held = calls.table.bytes_held
        self.threads = ThreadPoolExecutor(thread_name_prefix="json")
        self._prefix = token_hex(6)
        self._number = 0
        self.shared = SharedLines()

    # --- the way in ---

    def plan(self, head: Head) -> Request:
        """See `Handler`. Sets the id, the endpoint and the time limit, and runs the checks of stages."""
        self.metrics.in_flight += 1
        fields = head.fields
        if head.repeated is not None and FORWARDED in fields:  # each proxy may add a line of its own
            fields[FORWARDED] = b",".join([value for name, value in head.repeated if name == FORWARDED])
        if b"x-request-id" in fields and SOUND_ID.fullmatch(fields[b"x-request-id"]):
            exchange = Exchange(str(fields[b"x-request-id"], "ascii"))
        else:
            self._number += 1
            exchange = Exchange(f"{self._prefix}-{self._number:x}")
        exchange.peer = head.peer
        if head.method == "OPTIONS" and self.cors is not None:
            preflight = self.cors.preflight(fields)
            if preflight is not None:
                return HttpCall(self, head, 0, exchange, preflight)
        endpoint = self.find(head.target)
        if endpoint is None:
            page = PageCall(head, self.most_bytes, exchange)
            if exchange.action is not None:
                if self.calls.traces is not None:
                    exchange.trace = self.calls.traces.begin(context_of(head))
                self._check(page, fields)
                if exchange.action is Action.CONTROL and page.error is None:
                    target = head.target[:PATH_LIMIT].decode("latin-1")
                    self.calls.audit.controlled(
                        f"{head.method} {target}", exchange.peer, exchange.id, exchange.caller
                    )
            return page
        if self.calls.traces is not None:
            exchange.trace = self.calls.traces.begin(context_of(head))
        call = HttpCall(self, head, self.most_bytes, exchange, endpoint)
        try:
            if head.method != endpoint.method:
                raise WrongMethod(head.method, head.path, endpoint.method)
            if b"prefer" in fields and self.deferral is not None:
                call.endpoint = self.deferral.of(endpoint, head)
            if b"x-request-timeout-ms" in fields:
                exchange.limit_s = self._limit_s(fields[b"x-request-timeout-ms"])
            for check in self.calls.checks:
                check(exchange, fields)
            if exchange.most_bytes is not None:
                call.most_bytes = min(call.most_bytes, exchange.most_bytes)
        except HubError as error:
            call.error = error.with_traceback(None)  # it would have the call: a reference cycle
        return call

    def _check(self, page: PageCall, fields: Mapping[bytes, bytes]) -> None:
        """As `plan` does for calls, which have no function for it: it would be called a lot."""
        exchange = page.exchange
        try:
            if b"x-request-timeout-ms" in fields and exchange.action is Action.CONTROL:
                exchange.limit_s = self._limit_s(fields[b"x-request-timeout-ms"])
            for check in self.calls.checks:
                check(exchange, fields)
            if exchange.most_bytes is not None:
                page.most_bytes = min(page.most_bytes, exchange.most_bytes)
        except HubError as error:
            page.error = error.with_traceback(None)
        path = unquote(page.head.path.decode("latin-1"))
        # Starlette's routes allow an end of line behind them, so `action_of` has looked at another path.
        if page.error is None and "\n" in path:
            page.error = nothing_at(path)

    def again(self, call: HttpCall) -> None:
        """See `WayOut`."""
        for again in self.calls.agains:
            try:
                again(call.exchange, call.head.fields)
            except HubError as error:
                self.calls.audit.refused(error, call.exchange.peer, call.exchange.id, call.exchange.caller)
                raise

    def _limit_s(self, value: bytes) -> float:
        longest = self.calls.settings.max_timeout_ms
        if not value.isdigit() or len(value) > 12 or not 0 < (ms := int(value)) <= longest:
            raise bad_input(
                f"X-Request-Timeout-Ms: expected a whole number from 1 to {longest}, "
                f"got '{value[:40].decode('latin-1')}'"
            )
        return ms / 1000

    def begin(self, request: Request, reply: Reply) -> None:
        """See `Handler`."""
        if type(request) is PageCall:
            reply.finish_head = partial(self._page_lines, request, reply)
            if request.error is None:
                self.pages.begin(request, reply)
            else:
                error, exchange = request.error, request.exchange
                self.calls.audit.refused(error, exchange.peer, exchange.id, exchange.caller)
                body = error_body(error, unquote(request.head.path.decode("latin-1")))
                reply.send(error.kind.http, error_lines(error), (body,))
            return
        assert type(request) is HttpCall
        request.reply = reply
        try:
            if request.error is not None:
                request.fail(request.error)
            else:
                request.endpoint.begin(request)
        except Exception as error:
            request.fail(error)

    def left(self, request: Request) -> None:
        """See `Handler`: the caller has hung up."""
        if isinstance(request, PageCall):
            self.pages.left(request)
            if not request.answered:
                self.close(request, Kind.CALLER_LEFT.http, monotonic())
        elif isinstance(request, HttpCall):
            request.leave()

    def cut_off(self, request: Request, reply: Reply) -> None:
        """See `Handler`: the process ends and waits no longer."""
        if isinstance(request, PageCall):
            if not request.answered:
                reply.finish_head = partial(self._page_lines, request, reply)
            self.pages.cut_off(request, reply)
        elif isinstance(request, HttpCall):
            request.reply = reply
            if request.task is not None:
                request.task.cancel()
            text = "the gateway ends, and this request took longer than it could wait"
            request.fail(HubError(Kind.NOT_READY, text))
            request.exchange.leave()

    # --- the way out ---

    def _page_lines(self, call: PageCall, reply: Reply, status: int) -> bytes:
        """Header lines for a page whose head is about to be sent."""
        call.answered = True
        now = monotonic()
        lines = self.lines(call, now) + NO_SNIFFING
        self.close(call, status, now)
        if self.draining:
            reply.close = True
        return lines

    def lines(self, call: HttpCall | PageCall, now: float) -> bytes:
        """See `WayOut`."""
        lines = self.shared.of(call.exchange, now)
        return lines if self.cors is None else lines + self.cors.lines(call.head.fields)

    def refusal(self, call: HttpCall, error: Exception) -> tuple[int, bytes, Sequence[Buffer]]:
        """See `WayOut`."""
        exchange = call.exchange
        refused = as_hub_error(exchange, error)
        self.calls.audit.refused(refused, exchange.peer, exchange.id, exchange.caller)
        if refused.kind is Kind.TOO_SLOW:
            call.reply.close = True  # else the rest of the body would be read as the next request
        return refused.kind.http, error_lines(refused) + NO_SNIFFING, (call.endpoint.error(refused),)

    def close(self, call: HttpCall | PageCall, status: int, now: float) -> None:
        """See `WayOut`: count the request, and write its access line."""
        exchange = call.exchange
        exchange.deferred = None  # it refers back to the call
        if exchange.metered:
            exchange.end()
        if status != 200:
            exchange.kind = KINDS.get(status, exchange.kind)
        took = now - exchange.started
        self.metrics.answered(exchange, status, took)
        if self.calls.traces is not None and exchange.trace is not None:
            self.calls.traces.ended(exchange, self.metrics, call.head.method, call.head.target, status, now)
        if self.usage is not None and exchange.action is not None:
            self.usage.ended(exchange, wall_clock())
        if self.access is not None:
            write_line(self.access, self.shared, self.metrics.front, call.head, exchange, status, took)


def context_of(head: Head) -> dict[bytes, bytes]:
    """The headers with the context of a trace."""
    return head.fields if head.repeated is None else joined(head.repeated)
