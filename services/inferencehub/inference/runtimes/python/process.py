"""One process of a Python model, as the service's event loop sees it.

It has a socket for each call that may be in flight (calls.py). Work in a process cannot be cancelled, only killed. So a cancelled call waits
until its work has ended, and a run that has not ended after some time kills the process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.inference.runtimes.calling.running import Gateway
from inferencehub.inference.runtimes.python.calls import Calls
from inferencehub.inference.runtimes.python.channel import Load, ModelFailed, Ready, frame
from inferencehub.inference.runtimes.python.environment import ModelEnvironment
from inferencehub.inference.runtimes.python.failures import ProcessEnded, kill_group, log_trace
from inferencehub.inference.runtimes.python.lines import ModelLines
from inferencehub.model.metrics import Family

WORKER = "inferencehub.inference.runtimes.python_worker.worker"
START = str(Path(__file__).parents[1] / "python_worker" / "start.py")
UNLOAD_TIME = 2.0
Measure = Callable[[Family], None]


class Process(asyncio.SubprocessProtocol):
    """A running `worker.py`; create it with `start`.

    Args:
        load: what it will load.
        ended: called once, from the loop, when the process has ended for any reason.
    """

    def __init__(self, load: Load, ended: Callable[[Process], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.pid, self.ready = 0, Ready()  # the pid is also the id of its process group
        self.status: int | None = None
        self.exited = asyncio.Event()
        self._ended = ended
        self._lines = ModelLines(load)
        self.calls: list[Calls] = []
        self._transport: asyncio.SubprocessTransport | None = None

    @classmethod
    async def start(
        cls,
        load: Load,
        rules: ModelEnvironment,
        ended: Callable[[Process], None],
        measured: Measure,
        gateway: Gateway | None,
    ) -> Process:
        """Start a process and load the model in it. A cancelled start leaves no process behind.

        Args:
            load: what it loads.
            rules: the environment variables that it gets.
            ended: as above.
            measured: takes what the model measures.
            gateway: where its calls of other models go; None if no setting says it.

        Raises:
            HubError: MODEL_FAILED if the process did not start or the model did not load.
        """
        process = cls(load, ended)
        try:
            # One after the other: what is open is closed below if files run out.
            for _ in range(load.max_in_flight):
                process.calls.append(Calls(load.model, process.kill, measured, gateway))
            # A cancellation between the fork and the moment when we know the child would lose it, so it has to wait.
            spawning = asyncio.ensure_future(process._spawn(rules))
            await asyncio.shield(spawning)
            message, _ = await process.calls[0].call(frame(load), None)
        except ProcessEnded as end:
            killed = end.how == "signal 9"  # by the kernel, for memory
            hint = "; the file may be cut off or damaged" if load.reader and not killed else ""
            raise HubError(
                Kind.MODEL_FAILED, f"{load.file}: its process ended ({end.how}) while it loaded{hint}"
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
            process._lines.started()
            for calls in process.calls:
                calls.theirs.close()
            if process._transport is None:
                process._lines.close()
                for calls in process.calls:
                    calls.close()
        if isinstance(message, ModelFailed):
            log_trace(load.model, message)
            await process.stop()
            raise HubError(Kind.MODEL_FAILED, message.detail)
        process.ready = cast(Ready, message)
        return process

    async def stop(self) -> None:
        """Ask the process to end, and kill it if it does not."""
        for calls in self.calls:
            calls.shut()
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
        for calls in self.calls:
            calls.finish()  # the process may have answered before it ended
        status = self._transport.get_returncode()
        self._transport.close()
        # Processes that the model has started must not outlive it.
        kill_group(self.pid)
        self._lines.close()
        self.status = -1 if status is None else status
        self.exited.set()
        for calls in self.calls:
            calls.end(self.status)
        self._ended(self)

    async def _spawn(self, environment: ModelEnvironment) -> None:
        fds = [calls.theirs.fileno() for calls in self.calls]
        await cast(Any, self.loop).subprocess_exec(
            lambda: self,
            *(*started_as(environment.interpreter), ",".join(map(str, fds)), str(os.getpid())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._lines.theirs,
            stderr=self._lines.theirs,
            env=environment.taken_from(os.environ),
            pass_fds=fds,
            start_new_session=True,  # a Ctrl-C in a terminal then reaches only the service
        )
        self._lines.begin(self.pid)
        for calls in self.calls:
            calls.begin()


def started_as(interpreter: str) -> tuple[str, ...]:
    """The command of a process, but for its arguments; `interpreter` as in `ModelEnvironment`."""
    if interpreter:
        return interpreter, "-u", "-s", START
    return sys.executable, "-u", "-P", "-m", WORKER
