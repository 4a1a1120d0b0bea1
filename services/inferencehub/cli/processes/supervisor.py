"""Keeps a tier's process running: starts it again when it ends, after a pause that grows while it keeps ending.

A start has failed if the process ends before it was ready. After `STARTS` failed starts in a row the tier is given up.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import signal
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

STARTS = 3
PAUSE_S = (0.25, 8.0)  # the first pause and the longest one
STEADY_S = 30.0  # a process that ran for so long gets the first pause again
ASK_EVERY_S, ANSWER_S = 0.1, 2.0


PR_SET_PDEATHSIG = 1  # prctl(2)
# Linux ends a process then, as a Ctrl-C would, when the one that has started it is killed. What runs between fork and exec must
# be ready before: it takes no lock there.
ENDS_WITH_US = (
    partial(ctypes.CDLL(None).prctl, PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if sys.platform == "linux"
    else None
)


def say(sentence: str) -> None:
    """Write a line for the person at the terminal."""
    sys.stderr.write(f"inferencehub: {sentence}\n")
    sys.stderr.flush()


@dataclass(slots=True, eq=False)
class Tier:
    """One process to keep running.

    Args:
        name: what it is called in sentences.
        module: its package in inferencehub.
        settings: its environment.
        ops_port: its port for probes.
        spare: whether the process imports everything and then waits until `begin`.

    `ready` is set while its process is ready. `stopping` is set once it shall not be started again.
    """

    name: str
    module: str
    settings: Mapping[str, str]
    ops_port: int
    spare: bool = False
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _begun: asyncio.Event = field(default_factory=asyncio.Event)
    _process: asyncio.subprocess.Process | None = None

    def begin(self, port: int, ops_port: int) -> None:
        """Let a spare process serve, at these ports."""
        self.settings = {**self.settings, "PORT": str(port), "HUB_OPS_PORT": str(ops_port)}
        self.ops_port = ops_port
        self._begun.set()

    async def keep_running(self) -> int:
        """Run the process, again and again, until `stop`.

        Returns:
            0 after `stop`. If the tier was given up, the last exit code, or 1 if a signal ended it.
        """
        failed, pause_s = 0, PAUSE_S[0]
        while not self.stopping.is_set():
            began = monotonic()
            code, was_ready = await self._run()
            if self.stopping.is_set():
                break
            failed = 0 if was_ready else failed + 1
            if failed == STARTS:
                say(f"{self.name} {ended(code)}; it did not start {STARTS} times in a row, so all ends")
                return code if code > 0 else 1
            if monotonic() - began > STEADY_S:
                pause_s = PAUSE_S[0]
            say(f"{self.name} {ended(code)}; it is started again in {pause_s:g} s")
            try:
                async with asyncio.timeout(pause_s):
                    await self.stopping.wait()
            except TimeoutError:
                pause_s = min(2 * pause_s, PAUSE_S[1])
        return 0

    async def _run(self) -> tuple[int, bool]:
        """Run the process once; its exit code, and whether it was ever ready."""
        again = self._process is not None
        # It has its own session. So a Ctrl-C reaches only this process, which then stops the tiers in order.
        command = [sys.executable, "-m", f"inferencehub.{self.module}", *(["spare"] if self.spare else [])]
        self._process = await asyncio.create_subprocess_exec(
            *command, env=self.settings, start_new_session=True,
            stdin=asyncio.subprocess.PIPE if self.spare else None, preexec_fn=ENDS_WITH_US,
        )  # fmt: skip
        if self.stopping.is_set():  # while it was being started
            self._end()
        asking = asyncio.ensure_future(self._ask(again))
        try:
            code = await self._process.wait()
            return code, self.ready.is_set()
        finally:
            asking.cancel()
            self.ready.clear()

    async def _ask(self, again: bool) -> None:
        """Set `ready` when the process says that it is ready, and say so if it was started `again`."""
        if self.spare:
            await self._begun.wait()
            assert self._process is not None
            assert self._process.stdin is not None
            ports = {name: self.settings[name] for name in ("PORT", "HUB_OPS_PORT")}
            self._process.stdin.write(json.dumps(ports).encode() + b"\n")
        secure = bool(self.settings.get("HUB_OPS_TLS_CERT"))
        await until_answers(self.ops_port, "/readyz", any_certificate() if secure else None)
        self.ready.set()
        if again:
            say(f"{self.name} is ready again")

    def stop(self) -> None:
        """End the process when its running requests have their answers, and do not start it again."""
        self.stopping.set()
        if self._process is not None and self._process.returncode is None:
            self._end()

    def drain(self) -> None:
        """End the process as a rollout does: callers notice first, then its running requests end."""
        self.stopping.set()
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process now, and do not start it again."""
        self.stopping.set()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()  # two SIGINTs in a row can reach a busy process as one

    def _end(self) -> None:
        assert self._process is not None
        if self.ready.is_set():
            self._process.send_signal(signal.SIGINT)
        else:
            # While Python starts, SIGINT would end it with a traceback, and SIGTERM ends it silently. Later, a second
            # SIGTERM ends the drain.
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGTERM)


def ended(code: int) -> str:
    """How a process ended, from its exit code; a negative one is the number of a signal."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def any_certificate() -> ssl.SSLContext:
    """For a question to a process of our own, whose certificate may be for any name, by anybody."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def until_answers(port: int, path: str, tls: ssl.SSLContext | None = None) -> None:
    """Wait until a GET of `path` at a port of this machine gets status 200; through TLS if `tls` is given."""
    while True:
        if await answers(port, path, tls):
            return
        await asyncio.sleep(ASK_EVERY_S)


async def answers(port: int, path: str, tls: ssl.SSLContext | None) -> bool:
    """Whether a GET of `path` at a port of this machine gets status 200; through TLS if `tls` is given."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection("localhost", port, ssl=tls)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
            finally:
                writer.close()
    except OSError:  # TimeoutError is one
        return False
