"""How a connection begins, waits, sends and ends, whatever is said on it.

There is one timer. It is armed where something is missing, and what that is, is looked at when it fires: as long as
requests come whole and are answered, it stays where it is.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

from inferencehub.core.http1.handler import Reply
from inferencehub.core.http1.limits import Serving
from inferencehub.core.http1.response import refused
from inferencehub.core.values.tensors import Buffer

EARLY_S = 0.001  # how much before its time a timer may fire


class Lifetime(asyncio.BufferedProtocol, ABC):
    """The side of a connection that knows its transport and the time.

    Args:
        serving: what the connections of a server share.
        server_state: uvicorn's, which has the set of connections.
    """

    __slots__ = (
        "_deaf", "_due", "_last", "_loop", "_new", "_paused", "_reply", "_serving", "_state", "_stuck", "_timer", "_transport",
    )  # fmt: skip

    def __init__(self, serving: Serving, server_state: Any) -> None:
        self._serving = serving
        self._state = server_state
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._stuck = False  # something is not sent
        self._paused = False  # nothing is read
        self._deaf = False  # what comes is dropped
        self._last = False  # the next answer is the last one
        self._new = True  # no head has come
        self._reply: Reply | None = None  # to the request that is not answered

    @abstractmethod
    def _late(self) -> None:
        """The time that was given is over."""

    @abstractmethod
    def _caught_up(self) -> None:
        """All is sent again."""

    @abstractmethod
    def _forget(self) -> None:
        """What has come and is not looked at will not be."""

    @abstractmethod
    def _leave(self) -> None:
        """The caller has gone."""

    def connection_made(self, transport: Any) -> None:
        """Begin, unless there are too many."""
        self._transport = transport
        connections, limits = self._state.connections, self._serving.limits
        if len(connections) >= limits.max_connections:
            self._deaf = True
            transport.close()
            return
        connections.add(self)
        transport.set_write_buffer_limits(high=0)  # so that whatever is not sent at once is noticed
        self._arm(limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever has ended it."""
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
        """Be late in so many seconds, whatever was said before."""
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
        """Send; False where the caller reads too slowly for all of it."""
        if self._stuck:
            self._serving.unread.look(self)
        self._transport.write(data)
        if self._stuck:
            self._serving.unread.look(self)
            return False
        return True

    def date(self) -> bytes:
        """The head lines that every answer has."""
        serving, headers = self._serving, self._state.default_headers
        if headers is not serving.headers:
            serving.learn(headers)
        return serving.lines

    def host(self) -> str:
        """The address that the caller has connected to."""
        host: str = self._transport.get_extra_info("sockname")[0]
        return host

    def unsent(self) -> int:
        """How many bytes wait to be sent."""
        size: int = self._transport.get_write_buffer_size()
        return size

    def pause_writing(self) -> None:
        """Something is not sent."""
        self._stuck = True
        self._serving.unread.add(self)

    def resume_writing(self) -> None:
        """All is sent."""
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
        """End, once all is sent."""
        self._deaf = True
        self._forget()
        self._transport.close()

    def _linger(self) -> None:
        """As `_close`, but drop what comes for a moment: where it is not read, the caller loses the answer."""
        self._deaf = True
        self._forget()
        with suppress(OSError):  # the caller has gone, which nobody has noticed yet
            self._transport.write_eof()
        self._resume()
        self._arm(self._serving.limits.linger_s)

    def abort(self) -> None:
        """Break off."""
        if self._transport is not None:
            self._deaf = True
            self._forget()
            self._transport.abort()

    def _refuse(self, status: int, sentence: str) -> int:
        """Answer what never becomes a request; no other one runs. Nothing more is read."""
        self.write(refused(status, sentence, self.date()))
        self._linger()
        return 0

    def shutdown(self) -> None:
        """The server ends: close with the next answer, or at once where none is wanted."""
        self._last = True
        if self._reply is not None:
            self._reply.close = True
        elif self._new and not self._deaf:  # its first request is on its way, and would be lost
            self._arm(self._serving.limits.new_s)
        else:
            self._close()

    def cut_off(self) -> None:
        """The process ends, and has waited long enough."""
        reply = self._reply
        if reply is not None:
            reply.close = True
            self._serving.handler.cut_off(reply.request, reply)
        if reply is None or self._reply is reply:
            self.abort()
