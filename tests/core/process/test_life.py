"""What a process prepares before its first request."""

import os
import subprocess
import sys

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
