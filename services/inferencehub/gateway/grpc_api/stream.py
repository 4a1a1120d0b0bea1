"""ModelStreamInfer at the gateway: each message of a stream is a call of its own, as `core/grpc_server/streams/infer_stream.py`
says.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from inferencehub.core.auth.authentication import Authentication
from inferencehub.core.auth.caller import ANYONE, Action
from inferencehub.core.grpc_server.coding import decode
from inferencehub.core.grpc_server.credentials import fields_of, peer_of
from inferencehub.core.grpc_server.refusal import sentence
from inferencehub.core.grpc_server.streams.infer_stream import Write, replies
from inferencehub.core.grpc_server.unary import own_limit
from inferencehub.core.lane.sink import AnswerQueue
from inferencehub.core.oip import stream_messages
from inferencehub.core.oip.raw_fields import read_request
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.calls.answer_times import AnswerTimes
from inferencehub.gateway.calls.call_limits import BehindProxies
from inferencehub.gateway.grpc_api.edge import Edge
from inferencehub.gateway.grpc_api.infer import Infer
from inferencehub.gateway.grpc_api.jobs.asked import refuse_job

METHOD = "ModelStreamInfer"
MOST_WAITING = 64  # requests of a stream at a time


class StreamedCalls:
    """The calls of all streams.

    Args:
        edge: what each call passes on its way in and out.
        infer: runs them.
        authentication: asks who calls; None if nobody is asked.
        proxies: finds the address of a caller behind them; None where none are trusted.
        has_jobs: whether calls may become jobs; those of streams may not.
    """

    def __init__(
        self,
        edge: Edge,
        infer: Infer,
        authentication: Authentication | None,
        proxies: BehindProxies | None,
        has_jobs: bool,
    ) -> None:
        self.has_jobs = has_jobs
        self.proxies = proxies
        self.edge = edge
        self.infer = infer
        self.authentication = authentication

    def admit(self, context: Any) -> str:
        """Check who opens a stream, and return who it is; each request on the stream is checked too.

        Raises:
            HubError: UNAUTHENTICATED without good credentials, FORBIDDEN if the caller may not call models, UNSUPPORTED if
                its calls are to be jobs.
        """
        fields = fields_of(context.invocation_metadata() or ())
        who = self._who(context, fields)
        if self.has_jobs:
            refuse_job(fields, METHOD)
        return who

    def _who(self, context: Any, fields: dict[bytes, bytes]) -> str:
        if self.authentication is None:
            return ""
        peer, caller = peer_of(context), ANYONE
        if self.proxies is not None:
            peer = self.proxies.peer(peer, fields)
        try:
            caller = self.authentication.caller(fields, peer)
            caller.require(Action.INFER)
        except HubError as error:
            self.edge.calls.audit.refused(error, peer, caller=caller)
            raise
        return caller.who

    async def answer(self, data: bytes, context: Any, write: Write) -> bytes:
        """Run the request in a message; see `infer_stream.Answer`."""
        edge = self.edge
        metadata = context.invocation_metadata() or ()
        exchange = edge.begin(context, metadata)
        id, error, ask_end = "", None, False
        try:
            exchange.limit_s = own_limit(context)
            edge.check(exchange, metadata, len(data))
            data, _ = await decode(data, min(edge.most_bytes, exchange.most_bytes or edge.most_bytes))
            exchange.size = len(data)
            message, raw = read_request(data)
            del data
            id, ask_end = message.id, stream_messages.asks_for_end(message)
            sink = AnswerQueue()
            self.infer.submit(exchange, message, raw, sink)
            del message, raw  # the lane accounts for the request's bytes, and frees them once it has run
            delivered = AnswerTimes(exchange, edge.metrics).delivered
            again = partial(edge.again, exchange, metadata)
            last = await replies(sink, id, exchange.model, edge.most_answer_bytes, write, delivered, again)
            return last or (stream_messages.stream_end(id, exchange.model) if ask_end else b"")
        except BaseException as raised:
            error = edge.failure(exchange, raised)
            if not isinstance(raised, Exception):
                raise
        finally:
            edge.close(exchange, METHOD, error)
        assert isinstance(error, HubError)
        job = exchange.job
        failure = stream_messages.stream_failure(
            id, sentence(error), exchange.model if job is not None else ""
        )
        if not (ask_end and job is not None and job.has_parts):
            return failure
        await write(failure)
        return stream_messages.stream_end(id, exchange.model)
