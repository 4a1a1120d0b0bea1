"""The process above a service: it reaps orphans, passes signals on, and ends as the service ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.hub import ROOT, eventually
from tests.processes import children

# Orphans come to this process, as they come to process 1 of a container.
ABOVE = """
import ctypes, os, signal, subprocess, sys, time
from inferencehub.core.process.init import fork_below_init, leave_process_1
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
above = os.getpid()
leave_process_1()
assert os.getpid() == above, "this is not process 1"
fork_below_init()
assert os.getppid() == above
"""
SAYS_SIGNALS = """
def said(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(7)
for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, said)
print(os.getpid(), flush=True)
while True:
    time.sleep(0.01)  # signal.pause() would sleep through a signal that comes just before it
"""
MAKES_ORPHANS = """
codes = {subprocess.run(["sh", "-c", f"sleep 0.05 & exit {code}"]).returncode - code for code in range(30)}
print(codes, flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def below(program: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program whose parent is our init; the process is the init."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ABOVE + program, env={**os.environ, "PYTHONPATH": str(ROOT / "services")},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            yield process
    finally:
        if process.returncode is None:
            for pid in [*children(process.pid), process.pid]:
                with suppress(ProcessLookupError):  # the parent ends with its child
                    os.kill(pid, signal.SIGKILL)
        await process.communicate()


async def line(process: asyncio.subprocess.Process) -> str:
    """The next line of a program."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def test_orphans_are_reaped_and_the_service_gets_its_own_exit_codes() -> None:
    async with below(MAKES_ORPHANS) as init:
        assert await line(init) == "{0}"
        await eventually(lambda: len(children(init.pid)) == 1)  # the service alone


async def test_signals_are_passed_on_once_and_the_exit_code_comes_back() -> None:
    async with below(SAYS_SIGNALS) as init:
        service = int(await line(init))
        assert os.getsid(service) == service != os.getsid(init.pid)
        for number in (signal.SIGHUP, signal.SIGUSR1):
            init.send_signal(number)
            assert await line(init) == number.name
        os.killpg(init.pid, signal.SIGINT)  # as a terminal does
        assert await line(init) == "SIGINT"
        init.send_signal(signal.SIGTERM)
        assert await line(init) == "SIGTERM"
        assert await init.wait() == 7


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_service_that_is_killed_ends_it_with_128_and_the_signal(number: signal.Signals) -> None:
    async with below(SAYS_SIGNALS) as init:
        os.kill(int(await line(init)), number)
        assert await init.wait() == 128 + number
