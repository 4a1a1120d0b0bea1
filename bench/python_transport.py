"""What a call of a python model costs on its way: `PYTHONPATH=services python -m bench.python_transport`.

Median round trips in microseconds of an identity model in another process, by bytes and by transport: a socket pair
as the runtime uses it, a kept shared mapping a direction, a fresh mapping a message, and the runtime itself. The first
three send a bare size for a header, so that they compare the transport alone.
"""

from __future__ import annotations

import array
import asyncio
import mmap
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter

import uvloop

from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.python.runtime import Python
from inferencehub.inference.runtimes.runtime import ModelSource

SIZES = {12: 3000, 4096: 3000, 65536: 1000, 602_112: 300, 20_000_000: 20}  # bytes: round trips
SIZE = struct.Struct("<Q")
MODEL = """
class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs): return {"y": inputs["x"]}
"""
CONFIG = """
backend: "python"
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""


class Socket:
    """Size and bytes on the socket."""

    def __init__(self, end: socket.socket, mine: int, theirs: int) -> None:
        self.socket = end
        self.room = memoryview(bytearray(1 << 17))
        self.into = self.room
        self.filled = 0

    def send(self, data: bytes | memoryview) -> memoryview:
        """Start to send; what is left for `send_more`."""
        head = SIZE.pack(len(data))
        parts = [head + data] if len(data) <= 65536 else [head, data]
        return memoryview(data)[max(0, self.socket.sendmsg(parts) - SIZE.size) :]

    def send_more(self, rest: memoryview) -> memoryview:
        return rest[self.socket.send(rest) :]

    def receive(self) -> memoryview | None:
        self.filled += self.socket.recv_into(self.into[self.filled :])
        if not self.filled:
            raise EOFError
        total = SIZE.size + SIZE.unpack_from(self.into)[0]
        if self.into is self.room and total > len(self.room):
            self.into = memoryview(bytearray(total))
            self.into[: self.filled] = self.room[: self.filled]
        if self.filled < total:
            return None
        data = self.into[SIZE.size : total]
        if self.into is self.room:
            data = memoryview(bytes(data))
        self.into, self.filled = self.room, 0
        return data


class Kept(Socket):
    """The size on the socket, the bytes in one mapping a direction; the reader copies them out."""

    def __init__(self, end: socket.socket, mine: int, theirs: int) -> None:
        super().__init__(end, mine, theirs)
        self.fds = (mine, theirs)
        self.maps: list[mmap.mmap | None] = [None, None]

    def mapped(self, which: int, size: int) -> mmap.mmap:
        found = self.maps[which]
        if found is None or len(found) < size:
            if not which:
                os.ftruncate(self.fds[0], size)
            self.maps[which] = found = mmap.mmap(self.fds[which], size)
        return found

    def send(self, data: bytes | memoryview) -> memoryview:
        self.mapped(0, len(data))[: len(data)] = data
        self.socket.send(SIZE.pack(len(data)))
        return memoryview(b"")

    def receive(self) -> memoryview | None:
        head = self.socket.recv(SIZE.size)
        if not head:
            raise EOFError
        size = SIZE.unpack(head)[0]
        return memoryview(self.mapped(1, size)[:size])


class Fresh(Socket):
    """The size and a descriptor on the socket, the bytes in a new file in memory; nobody copies them out."""

    def send(self, data: bytes | memoryview) -> memoryview:
        fd, rest = os.memfd_create("bench"), memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.socket.sendmsg([SIZE.pack(len(data))], rights)
        os.close(fd)
        return rest

    def receive(self) -> memoryview | None:
        head, ancillary, _, _ = self.socket.recvmsg(SIZE.size, socket.CMSG_SPACE(4))
        if not head:
            raise EOFError
        fd = struct.unpack("i", ancillary[0][2])[0]
        data = mmap.mmap(fd, SIZE.unpack(head)[0], mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ)
        os.close(fd)
        return memoryview(data)


TRANSPORTS = {"socket": Socket, "mapped, kept": Kept, "mapped, fresh": Fresh}
Call = Callable[[bytes], Awaitable[object]]


def answer(transport: Socket) -> None:
    """The other process: send back what comes."""
    while True:
        try:
            data = transport.receive()
        except EOFError:
            return
        if data is not None:
            rest = transport.send(data)
            while rest:
                rest = transport.send_more(rest)


async def by_transport(name: str) -> list[float]:
    """Medians over a bare transport."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    fds = (theirs.fileno(), os.memfd_create("answers"), os.memfd_create("calls"))
    command = [sys.executable, "-m", "bench.python_transport", name, *map(str, fds)]
    child = subprocess.Popen(command, pass_fds=fds)  # noqa: ASYNC220  before anything is measured
    theirs.close()
    ours.setblocking(False)
    transport = TRANSPORTS[name](ours, fds[2], fds[1])
    waiter: asyncio.Future[memoryview] = loop.create_future()
    rest = memoryview(b"")

    def readable() -> None:
        data = transport.receive()
        if data is not None:
            waiter.set_result(data)

    def writable() -> None:
        nonlocal rest
        rest = transport.send_more(rest)
        if not rest:
            loop.remove_writer(ours)

    async def call(data: bytes) -> object:
        nonlocal waiter, rest
        waiter = loop.create_future()
        rest = transport.send(data)
        if rest:
            loop.add_writer(ours, writable)
        return await waiter

    loop.add_reader(ours, readable)
    medians = await measure(call)
    loop.remove_reader(ours)
    ours.close()
    child.wait()
    return medians


async def by_runtime() -> list[float]:
    """Medians over `Python.run`: checks, numpy and all."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        file = directory / "model.py"
        file.write_text(MODEL)
        runtime = Python(ModelSource("identity", "1", directory, file, parse_config(CONFIG, "identity"), 1))
        await runtime.load()

        async def call(data: bytes) -> object:
            request = InferRequest("identity", "1", (Tensor("x", "FP32", (len(data) // 4,), data),))
            return await runtime.run(0, request, monotonic() + 30, lambda part: None)

        try:
            return await measure(call)
        finally:
            await runtime.unload()


async def measure(call: Call) -> list[float]:
    medians = []
    for size, count in SIZES.items():
        data, times = os.urandom(size), []
        await call(data)
        for _ in range(count):
            began = perf_counter()
            await call(data)
            times.append(perf_counter() - began)
        medians.append(median(times) * 1e6)
    return medians


async def main() -> None:
    """Print the table."""
    columns = {name: await by_transport(name) for name in TRANSPORTS} | {"runtime": await by_runtime()}
    print(f"{'bytes':>12}", *[f"{name:>14}" for name in columns])
    for row, size in enumerate(SIZES):
        print(f"{size:>12,}", *[f"{column[row]:>14,.0f}" for column in columns.values()])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        fd, mine, theirs = map(int, sys.argv[2:])
        answer(TRANSPORTS[sys.argv[1]](socket.socket(fileno=fd), mine, theirs))
    else:
        uvloop.run(main())
