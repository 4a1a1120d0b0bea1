"""How a connection begins, waits, sends and ends. This part of a connection knows nothing of requests' content.

There is one timer. It is set when the connection waits for something, and `_late` finds out for what. Requests that
arrive whole and are answered at once do not touch the timer.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from math import inf
from typing import Any

from inferencehub.core.auth.peer import NOBODY, Peer, address_of
from inferencehub.core.http1.handler import Reply
from inferencehub.core.http1.limits import Serving
from inferencehub.core.http1.response import refused
from inferencehub.core.values.tensors import Buffer

EARLY_S = 0.001  # a timer may fire so much before its time


class Lifetime(asyncio.BufferedProtocol, ABC):
    """The part of a connection that knows the transport and the time.

    Args:
        serving: what the connections of a server share.
        server_state: uvicorn's `ServerState`, which has the set of connections.
    """

    __slots__ = (
        "_deaf", "_due", "_last", "_loop", "_new", "_paused", "_peer", "_reply", "_serving", "_state", "_stuck", "_timer", "_transport",
    )  # fmt: skip

    def __init__(self, serving: Serving, server_state: Any) -> None:
        self._serving = serving
        self._state = server_state
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._stuck = False  # bytes of an answer wait to be sent
        self._paused = False  # reading is paused
        self._deaf = False  # bytes that arrive are dropped
        self._last = False  # the next answer is the last one
        self._new = True  # no head has arrived yet
        self._peer = NOBODY
        self._reply: Reply | None = None  # the reply to the request that is not answered yet

    @abstractmethod
    def _late(self) -> None:
        """The time of the timer is over."""

    @abstractmethod
    def _caught_up(self) -> None:
        """The caller has read slowly, and now all bytes are sent."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop the bytes that have arrived and are not parsed yet."""

    @abstractmethod
    def _leave(self) -> None:
        """The caller has left."""

    def connection_made(self, transport: Any) -> None:
        """Begin; if there are too many connections, close this one."""
        self._transport = transport
        connections, limits = self._state.connections, self._serving.limits
        if len(connections) >= limits.max_connections:
            self._deaf = True
            transport.close()
            return
        connections.add(self)
        told = transport.get_extra_info
        self._peer = Peer(address_of(told("peername")), told("names") or (), told("until") or inf)
        transport.set_write_buffer_limits(high=0)  # `pause_writing` is then called for any unsent byte
        self._arm(limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by either side."""
        self._state.connections.discard(self)
        self._serving.unread.remove(self)
        self._leave()
        self._disarm()
        self._transport = None

    def eof_received(self) -> None:
        """The caller has hung up; the transport closes itself."""
        self._leave()

    # --- time ---

    def _arm(self, seconds: float) -> None:
        """Set the timer to `seconds` from now, instead of its last time."""
        self._due = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= self._due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due, self._on_time)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        self._timer = None
        if self._loop.time() < self._due - EARLY_S:
            self._timer = self._loop.call_at(self._due, self._on_time)
        else:
            self._late()

    # --- sending ---

    def write(self, data: Buffer) -> bool:
        """See `Carrier`."""
        if self._stuck:
            self._serving.unread.look(self)
        self._serving.sent += len(data)
        self._transport.write(data)
        if self._stuck:
            self._serving.unread.look(self)
            return False
        return True

    def date(self) -> bytes:
        """See `Carrier`."""
        serving, headers = self._serving, self._state.default_headers
        if headers is not serving.headers:
            serving.learn(headers)
        return serving.lines

    def host(self) -> str:
        """See `Carrier`."""
        host: str = self._transport.get_extra_info("sockname")[0]
        return host

    def unsent(self) -> int:
        """The number of bytes that wait to be sent."""
        size: int = self._transport.get_write_buffer_size()
        return size

    def moved(self) -> bool:
        """See `Slow`: `unsent` shows all."""
        return False

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`: bytes wait to be sent."""
        self._stuck = True
        self._serving.unread.add(self)

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`: all bytes are sent."""
        self._stuck = False
        self._serving.unread.remove(self)
        self._caught_up()

    # --- reading ---

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    # --- ends ---

    def _close(self) -> None:
        """Close the connection when all bytes are sent."""
        self._deaf = True
        self._forget()
        self._transport.close()

    def _linger(self) -> None:
        """As `_close`, but read and drop bytes for a moment: else TCP resets, and the caller may lose the answer."""
        self._deaf = True
        self._forget()
        with suppress(OSError):  # the caller may have left already
            self._transport.write_eof()
        self._resume()
        self._arm(self._serving.limits.linger_s)

    def abort(self) -> None:
        """Abort the connection."""
        if self._transport is not None:
            self._deaf = True
            self._forget()
            self._transport.abort()

    def _refuse(self, status: int, sentence: str) -> int:
        """Answer bytes that never become a request, and close. No request may be running."""
        self.write(refused(status, sentence, self.date()))
        self._linger()
        return 0

    def shutdown(self) -> None:
        """The server ends: close after the next answer, or at once if no request runs."""
        self._last = True
        if self._reply is not None:
            self._reply.close = True
        elif self._new and not self._deaf:  # the first request may be on its way, and would be lost
            self._arm(self._serving.limits.new_s)
        else:
            self._close()

    def cut_off(self) -> None:
        """The process ends and waits no longer: let the handler answer, then abort."""
        reply = self._reply
        if reply is not None:
            reply.close = True
            self._serving.handler.cut_off(reply.request, reply)
        if reply is None or self._reply is reply:
            self.abort()
