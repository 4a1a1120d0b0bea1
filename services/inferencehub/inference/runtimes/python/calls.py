"""The service's end of a socket to a process: one call at a time, and what comes before its answer.

The loop's own callbacks read and write the socket, without asyncio streams. So an answer takes only two passes of the
loop: one reads it, one wakes the caller.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Buffer, Tensor
from inferencehub.inference.runtimes.calling.running import Gateway, RunningCalls
from inferencehub.inference.runtimes.python.channel import (
    HEADERS,
    Asked,
    Credit,
    Given,
    Inbox,
    Level,
    Measured,
    Message,
    NotGiven,
    Progress,
    Stop,
    Tensors,
    Unasked,
    frame,
    parts_of,
)
from inferencehub.inference.runtimes.python.failures import ProcessEnded, how_ended
from inferencehub.inference.runtimes.python.grace import Timer
from inferencehub.inference.runtimes.python.outbox import Outbox
from inferencehub.model.metrics import Family

logger = logging.getLogger(__name__)

READS, FRAMES, ALL = 8, 16, 2**31  # of a socket, and of answers, in one turn of the event loop
SEND_BUFFER = 1 << 20  # bytes; the kernel limits it to net.core.wmem_max
EXIT_TIME = 0.1  # seconds for a process to exit after its channel was closed; then it is killed
Early = Callable[[Message, memoryview], None]  # takes what a call sends before its last frame


class Calls:
    """One socket.

    Args:
        model: its name, for the log.
        kill: kills the process.
        measured: takes what the model measures.
        gateway: where its calls of other models go; None if no setting says it.
    """

    def __init__(
        self,
        model: str,
        kill: Callable[[], None],
        measured: Callable[[Family], None],
        gateway: Gateway | None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._about = {"model": model}
        self._kill, self._measured = kill, measured
        self._status: int | None = None  # of the process, when it has ended
        self._socket, self.theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._fd = self._socket.fileno()
        for end in (self._socket, self.theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._inbox = Inbox(HEADERS)
        self._outbox = Outbox(self.loop, self._socket, self._broken)
        self.others = RunningCalls(gateway, partial(give, self._outbox.send))
        self._waiter: asyncio.Future[None] | None = None
        self._reply: tuple[Message, memoryview] | None = None
        self._hung = self._unread = self._gave = self._told = self._closed = False
        self._emit: Early | None = None

    def begin(self) -> None:
        """Read what the process sends; it has inherited `theirs`."""
        self.loop.add_reader(self._fd, self._readable)

    async def call(
        self, buffers: Sequence[Buffer], end: float | None, most: int = 0, emit: Early | None = None
    ) -> tuple[Message, memoryview]:
        """Send a frame and return the last or only answer; what comes before is emitted when it arrives.

        At `end`, in seconds of `time.monotonic`, the process is killed if it has not answered. A cancelled call tells
        the process so, and waits until it is free again; if there is no `end`, it kills the process. An answer with
        outputs of more than `most` bytes kills the process, too: it knows this limit.

        Raises:
            ProcessEnded: if there is no answer.
        """
        self._reply, self._emit = None, emit
        self._hung = self._unread = self._gave = self._told = False
        self._inbox.most = most + HEADERS
        timer = None if end is None else Timer(self.loop, max(end, monotonic()), self._kill_hung)
        if self._closed:
            self._unread = True
        else:
            self._outbox.send(buffers)
        cancelled = False
        while self._status is None and (self._reply is None or self._hung):
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                if end is None:
                    self._kill()
                elif not (cancelled or self._closed):
                    self._outbox.send(frame(Stop()))  # a model may look at it, and end early
                cancelled = True
                self._emit = None
                self.others.end()
        if timer is not None:
            timer.cancel()
        # Keep no answer until the next call, and no request: `emit` has it.
        reply, self._reply, self._emit = self._reply, None, None
        self.others.end()
        if cancelled:
            raise asyncio.CancelledError
        if reply is None or self._hung:
            # What it has not read may be a credit behind its first answer, or a level, and not the call.
            unread = self._unread and not (self._gave or self._told)
            raise ProcessEnded(how_ended(self._status or 0), self._hung, unread)
        return reply

    def credit(self, size: int) -> None:
        """Answers of this weight have reached the caller; the model may give more."""
        if not self._closed:
            self._outbox.send(frame(Credit(size)))

    def log_at(self, level: int) -> None:
        """Let the process log from this level on; one that runs a call may do so at its end."""
        if not self._closed:
            self._told = True
            self._outbox.send(frame(Level(level)))

    def shut(self) -> None:
        """Tell the process that no call comes any more."""
        if not self._closed:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def finish(self) -> None:
        """The process has exited: read what it has sent before, and close the socket."""
        if not self._closed and self._take(0, ALL):
            self._readable(ALL, ALL)
        self.close()

    def end(self, status: int) -> None:
        """The process has ended with this status: so does the call."""
        self._status = status
        self._kill = lambda: None  # it refers back to the process: a reference cycle
        self._wake()

    def close(self) -> None:
        """Close the socket."""
        if not self._closed:
            self._closed = True
            self._outbox.close()
            self.loop.remove_reader(self._fd)
            self._socket.close()

    def _readable(self, reads: int = READS, frames: int = FRAMES) -> None:
        """Read what has come, but no more than so many times: other work on the event loop has its turn, too."""
        for _ in range(reads):
            try:
                count = self._socket.recv_into(self._inbox.room())
            except BlockingIOError:
                return
            except ConnectionError:
                # The kernel reports this if the other end was closed before it had read everything, so: our call.
                self._unread = True
                count = 0
            if not count:
                self._hang_up()
                return
            if not self._take(count, frames):
                return

    def _take(self, count: int, frames: int = FRAMES) -> bool:
        """Handle the frames that `count` more bytes complete. Returns whether more bytes are needed."""
        wanted = True
        try:
            for _ in range(frames):
                got = self._inbox.took(count)
                if got is None:
                    return wanted
                count = 0
                if not self._went_on(*got):
                    self._reply = got
                    self._wake()
                    if not self._inbox.begun:
                        return False
                    wanted = False  # but what was measured may have come with the answer
        except ValueError:
            logger.exception("model process sent an invalid frame", extra=self._about)
            self._hang_up()
            self._kill()
            return False
        self.loop.remove_reader(self._fd)  # until the frames that are left have been handled
        self.loop.call_soon(self._go_on)
        return False

    def _go_on(self) -> None:
        if not self._closed:
            self.loop.add_reader(self._fd, self._readable)
            self._take(0)

    def _went_on(self, message: Message, body: memoryview) -> bool:
        """Handle what comes before the last or only answer; False if the message is that answer."""
        if isinstance(message, Measured):
            self._measured(message.family)
            return True
        if isinstance(message, Asked | Unasked):
            self._gave = True
            self._ask(message, body)
            return True
        if not ((isinstance(message, Tensors) and message.more) or isinstance(message, Progress)):
            return False
        self._gave = True
        if self._emit is not None and not self._hung:
            self._emit(message, body)
        return True

    def _ask(self, message: Asked | Unasked, body: memoryview) -> None:
        """Make a call of another model, or end one that the model does not wait for any more."""
        if isinstance(message, Unasked):
            self.others.drop(message.number)
            return
        inputs, parameters = message.over(body), message.parameters
        self.others.ask(
            message.number,
            InferRequest(message.model, message.version, inputs, message.outputs, parameters),
        )

    def _broken(self) -> None:
        """The process has closed its end before it had read everything."""
        self._unread = True
        if not self._closed:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close()
        self.loop.call_later(EXIT_TIME, self._kill)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _kill_hung(self) -> None:
        logger.warning("model run hangs, its process is killed", extra=self._about)
        self._hung = True
        self._kill()


def give(send: Callable[[Sequence[Buffer]], None], number: int, given: tuple[Tensor, ...] | HubError) -> None:
    """Send what a call of another model has given."""
    if isinstance(given, HubError):
        send(frame(NotGiven(number, given.kind.label, given.detail)))
    else:
        send(frame(Given(parts_of(given), False, number), given))
