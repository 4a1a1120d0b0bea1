"""What a process prepares before its first request, and how signals end it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.hub import ROOT

FAULTS = """
import resource
from inferencehub.core.process.life import keep_freed_memory

if {keep}:
    keep_freed_memory()

def some_requests():
    for size in 20 * [600_000, 900_000]:
        tensors = [bytearray(size) for _ in range(3)]
        del tensors

some_requests()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
some_requests()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    """Page faults of 120 tensors of 600 to 900 kB, after as many others."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "services")}
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    child = subprocess.run(command, capture_output=True, check=True, text=True, env=environ)
    return int(child.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_memory_of_large_bodies_is_used_again() -> None:
    assert faults(keep=False) > 5000
    assert faults(keep=True) < 500


DRAINS = """
import asyncio, time
from inferencehub.core.process.life import live

class Service:
    async def start(self):
        print("started", flush=True)

    async def drain(self):
        print("draining", flush=True)
        time.sleep({blocked_s})

    async def stop(self):
        await asyncio.sleep(20)

asyncio.run(live(Service()))
"""


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_sigint_that_comes_as_the_drain_begins_is_not_lost(first: signal.Signals) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "services")}
    command = [sys.executable, "-c", DRAINS.format(blocked_s=0.5)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        child.send_signal(first)
        assert child.stdout.readline() == "draining\n"
        child.send_signal(signal.SIGINT)
        if first == signal.SIGTERM:  # the first SIGINT after it ends the drain only
            time.sleep(1)
            child.send_signal(signal.SIGINT)
        assert child.wait(10) == 128 + signal.SIGINT
