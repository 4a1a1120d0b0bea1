"""Memory that was freed is given back to the system, when there is time and when it brings something."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps freed memory like this")

PROGRAM = """
import ctypes
from inferencehub.core.grpc_server.connections.memory import Trimmer, memory
from inferencehub.core.process.life import keep_freed_memory

PIECE = 2**16
keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def freed(megabytes):
    pieces = [libc.malloc(PIECE) for _ in range(megabytes * 2**20 // PIECE)]
    for piece in pieces:
        ctypes.memset(piece, 1, PIECE)
    above = libc.malloc(PIECE)  # what stays in use keeps all that lies below it
    for piece in pieces:
        libc.free(piece)

trimmer, before = Trimmer(), memory()
freed(100)
kept = memory() - before
trimmer.look()
print(kept, memory() - before)
freed(100)
trimmer.look()
print(memory() - before)
"""


def test_freed_memory_is_given_back_but_not_each_time() -> None:
    program = [sys.executable, "-c", PROGRAM]
    said = subprocess.run(program, check=True, capture_output=True, text=True, timeout=60).stdout
    kept, after, soon = (int(number) for number in said.split())
    assert kept > 90e6
    assert after < 10e6
    assert soon > 90e6, "too early for a second time"
