"""A gRPC server with the options that each of our ports has."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import grpc

from inferencehub.core.grpc_server.connections.callers import Callers
from inferencehub.core.grpc_server.connections.half_messages import HalfMessages
from inferencehub.core.grpc_server.connections.tcp import Connections
from inferencehub.core.grpc_server.connections.unread import UnreadAnswers
from inferencehub.core.http1.limits import Limits
from inferencehub.core.lane.byte_budget import ByteBudget

GRPC_LOG = "grpc._cython.cygrpc"
LEFT = "ExecuteBatchError raised in core"


def options(most_bytes: int, most_answer_bytes: int) -> list[tuple[str, int]]:
    """The options of a server.

    A request of up to twice `most_bytes` is read, so that it can be refused with a sentence. Compressed requests come as
    they are; see `coding.py`.

    Clients may ping every 10 s, even without an open call. Gateways do that to notice a node that has vanished.

    Args:
        most_bytes: the largest request that is accepted, in bytes.
        most_answer_bytes: the largest answer that is sent, in bytes.
    """
    return [
        ("grpc.max_receive_message_length", min(2 * most_bytes, 2**31 - 1)),
        ("grpc.max_send_message_length", most_answer_bytes),
        ("grpc.per_message_decompression", 0),
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def not_of_callers(record: logging.LogRecord) -> bool:
    """Drops what gRPC logs, with a traceback, when a caller leaves before it has its whole answer."""
    return not record.getMessage().startswith(LEFT)


class GrpcServer:
    """A server on one port.

    Args:
        port: the port; 0 takes any free one.
        options: see `options`.
        limits: the time that callers have.
        budget: the process's budget of bytes.
        credentials: for TLS.
    """

    def __init__(
        self,
        port: int,
        options: Sequence[tuple[str, int]],
        limits: Limits,
        budget: ByteBudget,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.port = port
        self._credentials = credentials
        self.connections = connections = Connections(lambda: self.port)
        self.callers = Callers(UnreadAnswers(connections, limits, budget), HalfMessages(connections, budget))
        handshake = ("grpc.server_handshake_timeout_ms", round(limits.header_timeout_s * 1000))
        self._server = grpc.aio.server(options=[*options, handshake])

    async def start(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Listen.

        Raises:
            OSError: if the port is taken.
        """
        # For registered methods, grpc.aio does extra work in every call. Generic handlers contain all methods, so
        # registration is switched off.
        logging.getLogger(GRPC_LOG).addFilter(not_of_callers)
        self._server.add_registered_method_handlers = lambda *_: None  # type: ignore[method-assign]
        self._server.add_generic_rpc_handlers(list(handlers))
        try:
            address = f"[::]:{self.port}"
            self.port = (
                self._server.add_insecure_port(address)
                if self._credentials is None
                else self._server.add_secure_port(address, self._credentials)
            )
        except RuntimeError:
            raise OSError(f"port {self.port} is taken") from None
        await self._server.start()
        self.callers.half.start()

    async def stop(self, grace_s: float) -> None:
        """Tell callers to go elsewhere, refuse new calls, and end after the running ones or after `grace_s` seconds."""
        await self._server.stop(grace_s)
        self.callers.half.stop()
