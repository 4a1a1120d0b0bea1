"""The ops port of every process: metrics, probes, and pages that the tiers ask each other for. Never public.

GET /metrics   Prometheus text
GET /healthz   liveness: 200 while the process works
GET /readyz    readiness: 200 while the process accepts requests, else 503, with the reason
GET /doctor    what is wrong with the process, in sentences; see `core/process/doctor`

With TLS, all but the probes is for who shows a certificate: a kubelet has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from inferencehub.core.http1.handler import Handler, Head, Reply, Request
from inferencehub.core.http1.limits import Limits
from inferencehub.core.http1.server import HttpServer
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.process.resources.container import Container
from inferencehub.core.process.resources.event_loop import EventLoopLag
from inferencehub.core.process.resources.garbage import CollectorPauses
from inferencehub.core.process.scrape.scrapes import Scrapes
from inferencehub.core.process.scrape.written import Registry
from inferencehub.core.process.tasks import cancelled
from inferencehub.core.tls.certificate import Contents
from inferencehub.core.tls.ops_certificate import OpsCertificate

JSON = "application/json"
# The clients of this port are few, trusted, and send no bodies. Answers have some 100 KB at most.
LIMITS = Limits(max_connections=256)
BUDGET_BYTES = 32 * 2**20
METRICS = "/metrics"
PROBES = ("/healthz", "/readyz")


class Asked(NamedTuple):
    """The parts of a request that a page may need.

    Args:
        query: the query string as sent.
        accept: the Accept header; "" if there is none.
        host: the local address on which the request arrived.
    """

    query: bytes
    accept: str
    host: str


Answer = tuple[int, str, bytes]
# Returns status, content type and body, at once or later. One that is late never raises.
Page = Callable[[Asked], Answer | Awaitable[Answer]]


class OpsPages:
    """A `Handler` that answers each path immediately, but for metrics, pages that take their time, and paths of other handlers.

    Args:
        registry: the metrics to show.
        ready: returns "" while the process accepts requests, else the reason why it does not.
        more: further pages by path.
        secure: whether all but the probes needs a certificate.
        others: handlers of all paths that begin with a name, such as "/console" and those below it.
    """

    def __init__(
        self,
        registry: Registry,
        ready: Callable[[], str],
        more: Mapping[str, Page],
        secure: bool,
        others: Mapping[str, Handler],
    ) -> None:
        self._scrapes = Scrapes(registry)
        self._others = others
        self._ready = ready
        self._secure = secure
        self._later: set[asyncio.Task[None]] = set()
        self._pages: dict[str, Page] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            **more,
        }

    def plan(self, head: Head) -> Request:
        """See `Handler`."""
        other = self._other(head)
        return Request(head, 0, needs_body=False) if other is None else other.plan(head)

    def _other(self, head: Head) -> Handler | None:
        # "*", the target of an OPTIONS about the server, has none.
        first = head.path.decode("ascii").partition("/")[2].partition("/")[0]
        return self._others.get(f"/{first}")

    def begin(self, request: Request, reply: Reply) -> None:
        """See `Handler`."""
        head = request.head
        path = head.path.decode("ascii")
        page = self._pages.get(path)
        answer: Answer | Awaitable[Answer]
        if self._secure and path not in PROBES and not head.peer.names:
            sentence = "no certificate with a name was shown; without one there are only /healthz and /readyz"
            answer = 403, JSON, msgspec.json.encode({"error": sentence})
        elif path == METRICS:
            self._scrapes.begin(request, reply)
            return
        elif (other := self._other(head)) is not None:
            other.begin(request, reply)
            return
        elif page is None:
            known = ", ".join((METRICS, *self._pages, *self._others))
            sentence = f"no page '{path[:80]}', expected one of {known}"
            answer = 404, JSON, msgspec.json.encode({"error": sentence})
        else:
            accept = head.fields.get(b"accept", b"").decode("latin-1")
            answer = page(Asked(head.query, accept, reply.host))
        if isinstance(answer, tuple):
            send(reply, answer)
        else:
            later = asyncio.get_running_loop().create_task(self._send_later(reply, answer))
            self._later.add(later)
            later.add_done_callback(self._later.discard)

    async def _send_later(self, reply: Reply, answer: Awaitable[Answer]) -> None:
        send(reply, await answer)

    async def stop(self) -> None:
        """Give up answers that are late."""
        await cancelled(list(self._later))

    def left(self, request: Request) -> None:
        """See `Handler`."""
        if (other := self._other(request.head)) is not None:
            other.left(request)
        else:
            self._scrapes.left(request)

    def cut_off(self, request: Request, reply: Reply) -> None:
        """See `Handler`; an answer that has begun is aborted."""
        if (other := self._other(request.head)) is not None:
            other.cut_off(request, reply)
        else:
            self._scrapes.left(request)

    def _healthz(self, asked: Asked) -> Answer:
        return 200, JSON, b'{"live":true}'

    def _readyz(self, asked: Asked) -> Answer:
        reason = self._ready()
        return (503 if reason else 200), JSON, msgspec.json.encode({"ready": not reason, "reason": reason})


def send(reply: Reply, answer: Answer) -> None:
    """Give an answer."""
    status, content_type, body = answer
    reply.send(status, b"content-type: %b\r\n" % content_type.encode(), (body,))


class OpsServer(HttpServer):
    """The server of a process's ops port. It also measures what the process uses, for its metrics.

    Args:
        port: the port to listen at; 0 takes a free one.
        registry, ready, more: see `OpsPages`.
        limits: limits for the clients of this port.
        certificate: for TLS; it is looked at while the server runs.
        others: see `OpsPages`.
    """

    def __init__(
        self,
        port: int,
        registry: Registry,
        ready: Callable[[], str],
        more: Mapping[str, Page],
        limits: Limits = LIMITS,
        certificate: OpsCertificate | None = None,
        others: Mapping[str, Handler] = MappingProxyType({}),
    ) -> None:
        budget = ByteBudget(BUDGET_BYTES)
        self._pages = OpsPages(registry, ready, more, certificate is not None, others)
        super().__init__(self._pages, port, limits, budget, certificate)
        budget.relieve = self.unread.relieve
        self.certificate = certificate
        registry.register(Container())
        self._measured = EventLoopLag(registry), CollectorPauses(registry)

    async def start(self) -> None:
        """See `HttpServer`."""
        if self.certificate is not None:
            self.certificate.changed = self._changed
            self.certificate.start()
        for one in self._measured:
            one.start()
        await super().start()

    async def stop(self, grace_s: float) -> None:
        """See `HttpServer`."""
        await super().stop(grace_s)
        await self._pages.stop()
        for one in self._measured:
            one.stop()
        if self.certificate is not None:
            await self.certificate.stop()

    def _changed(self, before: Contents) -> None:
        """Let the other sides show their certificates again, if those who signed them may not be trusted any more."""
        if self.certificate is not None and before.authorities != self.certificate.contents.authorities:
            self.renew()
