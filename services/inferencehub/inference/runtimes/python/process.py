"""One process of a Python model, as the service's event loop sees it.

The loop's own callbacks read and write the socket, without asyncio streams. So an answer takes only two passes of the
loop: one reads it, one wakes the caller. Work in a process cannot be cancelled, only killed. So a cancelled call waits
until its work has ended, and a run that has not ended after some time kills the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, cast

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.tensors import Buffer
from inferencehub.inference.runtimes.python.channel import (
    HEADERS,
    Credit,
    Inbox,
    Load,
    Measured,
    Message,
    ModelFailed,
    Progress,
    Stop,
    Tensors,
    frame,
)
from inferencehub.inference.runtimes.python.environment import ModelEnvironment
from inferencehub.inference.runtimes.python.failures import ProcessEnded, how_ended, kill_group, log_trace
from inferencehub.inference.runtimes.python.grace import Timer
from inferencehub.inference.runtimes.python.lines import ModelLines
from inferencehub.inference.runtimes.python.outbox import Outbox
from inferencehub.model.metrics import Family

logger = logging.getLogger(__name__)

WORKER = "inferencehub.inference.runtimes.python_worker.worker"
READS, FRAMES, ALL = 8, 16, 2**31  # of a socket, and of answers, in one turn of the event loop
SEND_BUFFER = 1 << 20  # bytes; the kernel limits it to net.core.wmem_max
EXIT_TIME = 0.1  # seconds for a process to exit after its channel was closed; then it is killed
UNLOAD_TIME = 2.0
Measure = Callable[[Family], None]
Early = Callable[[Message, memoryview], None]  # takes what a call sends before its last frame


class Process(asyncio.SubprocessProtocol):
    """A running `worker.py`; create it with `start`.

    Args:
        load: what it will load.
        ended: called once, from the loop, when the process has ended for any reason.
        measured: takes what the model measures.
    """

    def __init__(self, load: Load, ended: Callable[[Process], None], measured: Measure) -> None:
        self.loop = asyncio.get_running_loop()
        self.pid = 0  # also the id of its process group
        self.status: int | None = None
        self.exited = asyncio.Event()
        self._ended, self._measured = ended, measured
        self._lines = ModelLines(load)
        self._socket, self._theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._fd = self._socket.fileno()
        for end in (self._socket, self._theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._inbox = Inbox(HEADERS)
        self._outbox = Outbox(self.loop, self._socket, self._broken)
        self._waiter: asyncio.Future[None] | None = None
        self._reply: tuple[Message, memoryview] | None = None
        self._hung = self._unread = self._gave = self._closed = False
        self._emit: Early | None = None
        self._transport: asyncio.SubprocessTransport | None = None

    @classmethod
    async def start(
        cls, load: Load, rules: ModelEnvironment, ended: Callable[[Process], None], measured: Measure
    ) -> Process:
        """Start a process and load the model in it. A cancelled start leaves no process behind.

        Raises:
            HubError: MODEL_FAILED if the process did not start or the model did not load.
        """
        process = cls(load, ended, measured)
        # A cancellation between the fork and the moment when we know the child would lose it, so it has to wait.
        spawning = asyncio.ensure_future(process._spawn(rules))
        try:
            await asyncio.shield(spawning)
            message, _ = await process.call(frame(load), None)
        except ProcessEnded as end:
            raise HubError(
                Kind.MODEL_FAILED, f"{load.file}: its process ended ({end.how}) while it loaded"
            ) from None
        except OSError as error:
            raise HubError(Kind.MODEL_FAILED, f"{load.file}: no process for it: {error.strerror}") from None
        except asyncio.CancelledError:
            await asyncio.wait({spawning})
            if process._transport is not None:
                process.kill()
                await process.exited.wait()
            raise
        finally:
            process._theirs.close()
            process._lines.started()
            if process._transport is None:
                process._lines.close()
                process._close()
        if isinstance(message, ModelFailed):
            log_trace(load.model, message)
            await process.stop()
            raise HubError(Kind.MODEL_FAILED, message.detail)
        return process

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
        self._hung = self._unread = self._gave = False
        self._inbox.most = most + HEADERS
        timer = None if end is None else Timer(self.loop, max(end, monotonic()), self._kill_hung)
        if self._closed:
            self._unread = True
        else:
            self._outbox.send(buffers)
        cancelled = False
        while self.status is None and (self._reply is None or self._hung):
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                if end is None:
                    self.kill()
                elif not (cancelled or self._closed):
                    self._outbox.send(frame(Stop()))  # a model may look at it, and end early
                cancelled = True
                self._emit = None
        if timer is not None:
            timer.cancel()
        # Keep no answer until the next call, and no request: `emit` has it.
        reply, self._reply, self._emit = self._reply, None, None
        if cancelled:
            raise asyncio.CancelledError
        if reply is None or self._hung:
            # What it has not read behind its first answer is a credit, not the call.
            raise ProcessEnded(how_ended(self.status or 0), self._hung, self._unread and not self._gave)
        return reply

    def credit(self, size: int) -> None:
        """Answers of this weight have reached the caller; the model may give more."""
        if not self._closed:
            self._outbox.send(frame(Credit(size)))

    async def stop(self) -> None:
        """Ask the process to end, and kill it if it does not."""
        if not self._closed:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(UNLOAD_TIME):
                    await self.exited.wait()
        finally:
            self.kill()
        await self.exited.wait()

    def kill(self) -> None:
        """Kill the process and the processes that it has started."""
        if self.status is None and self.pid:
            kill_group(self.pid)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid()

    def process_exited(self) -> None:
        assert self._transport is not None
        if not self._closed and self._take(0, ALL):
            self._readable(ALL, ALL)  # the process may have answered before it ended
        status = self._transport.get_returncode()
        self._transport.close()
        self._close()
        # Processes that the model has started must not outlive it.
        kill_group(self.pid)
        self._lines.close()
        self.status = -1 if status is None else status
        self.exited.set()
        self._wake()
        self._ended(self)

    async def _spawn(self, environment: ModelEnvironment) -> None:
        fd = self._theirs.fileno()
        await cast(Any, self.loop).subprocess_exec(
            lambda: self,
            *(sys.executable, "-u", "-P", "-m", WORKER, str(fd), str(os.getpid())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._lines.theirs,
            stderr=self._lines.theirs,
            env=environment.taken_from(os.environ),
            pass_fds=(fd,),
            start_new_session=True,  # a Ctrl-C in a terminal then reaches only the service
        )
        self._lines.begin(self.pid)
        self.loop.add_reader(self._fd, self._readable)

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
        try:
            for _ in range(frames):
                got = self._inbox.took(count)
                if got is None:
                    return True
                count = 0
                if not self._is_part(*got):
                    self._reply = got
                    self._wake()
                    return False
        except ValueError:
            logger.exception("model process sent an invalid frame", extra={"pid": self.pid})
            self._hang_up()
            self.kill()
            return False
        self.loop.remove_reader(self._fd)  # until the frames that are left have been handled
        self.loop.call_soon(self._go_on)
        return False

    def _go_on(self) -> None:
        if not self._closed:
            self.loop.add_reader(self._fd, self._readable)
            self._take(0)

    def _is_part(self, message: Message, body: memoryview) -> bool:
        """Emit one of several answers, progress or measures. Returns False if the message is the last or only answer."""
        if isinstance(message, Measured):
            self._measured(message.family)
            return True
        if not ((isinstance(message, Tensors) and message.more) or isinstance(message, Progress)):
            return False
        self._gave = True
        if self._emit is not None and not self._hung:
            self._emit(message, body)
        return True

    def _broken(self) -> None:
        """The process has closed its end before it had read everything."""
        self._unread = True
        if not self._closed:
            self._hang_up()

    def _hang_up(self) -> None:
        self._close()
        self.loop.call_later(EXIT_TIME, self.kill)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._outbox.close()
            self.loop.remove_reader(self._fd)
            self._socket.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _kill_hung(self) -> None:
        logger.warning("model run hangs, its process is killed", extra={"pid": self.pid})
        self._hung = True
        self.kill()
