"""HTTP through TLS: what is held, cut off, counted and left behind is as without it, on both event loops."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import sys
import time
from contextlib import closing

import pytest

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.tls.certificate import Certificate
from tests.authority import Authority
from tests.core.http1.server import Echo, on_both_loops, serving
from tests.gateway.raw import Raw, request
from tests.machine import resident

BIG = 20_000_000
CLIENTS = """
import socket, ssl, sys
port, count, size = map(int, sys.argv[1:])
trusting = ssl.create_default_context()
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
all = [trusting.wrap_socket(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
for at_once in (all[:2], all):  # the first ones warm the server up
    for one in at_once:
        one.sendall(b"POST / HTTP/1.1\\r\\nhost: h\\r\\ncontent-length: %d\\r\\n\\r\\n" % size + bytes(size))
        one.recv(2**16)
        one.sendall(b"GET /big?%d HTTP/1.1\\r\\nhost: h\\r\\n\\r\\n" % size)
        got = 0
        while got < size:
            got += len(one.recv(2**16))
    print("done", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module", autouse=True)
def certificate(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A certificate for the servers of this file, and what its callers trust."""
    global server, trusting
    directory = tmp_path_factory.mktemp("certificate")
    authority = Authority(directory, "authority")
    chain, key = authority.signed("server")
    server = Certificate("HUB_TLS", str(chain), str(key), protocols=["http/1.1"])
    trusting = ssl.create_default_context(cafile=str(authority.certificate))


server: Certificate
trusting: ssl.SSLContext


def connect(port: int, buffer_bytes: int) -> ssl.SSLSocket:
    """A client that blocks, for a thread, with a receive buffer of this size."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    plain.connect(("127.0.0.1", port))
    sock = trusting.wrap_socket(plain, server_hostname="localhost")
    sock.settimeout(60)
    return sock


def whole(port: int, asked: bytes, pause_s: float = 0.0, buffer_bytes: int = 2**20) -> int:
    """The bytes that come back until the server closes; `pause_s` after each megabyte."""
    with connect(port, buffer_bytes) as sock:
        sock.sendall(asked)
        got = due = 0
        while piece := sock.recv(2**16):
            got += len(piece)
            if pause_s and got - due > 1_000_000:
                due = got
                time.sleep(pause_s)
        return got


async def _bodies() -> None:
    """Each size, in one piece and in two, comes as it was sent."""
    async with serving(Echo(), tls=server) as http, Raw(http.port, tls=trusting) as raw:
        for size in (1, 10, 4096, 16_384, 16_385, 70_000, 300_000, 1_000_000):
            body = bytes(range(256)) * (size // 256 + 1)
            for cut in (0, size // 2):
                asked = request("POST", "/", body[:size])
                await raw.send(asked[: len(asked) - cut])
                await asyncio.sleep(0.01)
                await raw.send(asked[len(asked) - cut :])
                told = (await raw.read()).json
                assert (told["size"], told["body"]) == (size, body[: min(size, 100)].decode("latin-1"))


async def _a_stream_is_whole() -> None:
    async with serving(Echo(), tls=server, write_timeout_s=0.5, tick_s=0.05) as http:
        got = await asyncio.to_thread(
            whole, http.port, request("GET", "/eager?100", None, "connection: close")
        )
        assert got > 100 * 65_536


async def _a_long_request_is_answered() -> None:
    """It runs longer than an answer may be unread."""
    handler = Echo()
    async with (
        serving(handler, tls=server, write_timeout_s=0.3, tick_s=0.05) as http,
        Raw(http.port, tls=trusting) as raw,
    ):
        await raw.send(request("POST", "/held", b"a"))
        await handler.until(lambda: bool(handler.held))
        await asyncio.sleep(1.0)
        handler.let_go()
        assert (await raw.read()).status == 200


async def _pipelined_requests_are_all_answered() -> None:
    async with serving(Echo(), tls=server) as http, Raw(http.port, tls=trusting) as raw:
        await raw.send(request("POST", "/", b"x") * 40)
        assert [(await raw.read()).status for _ in range(40)] == [200] * 40


async def _a_slow_reader_gets_the_whole_of_its_last_answer() -> None:
    """It takes longer than a connection lingers, and than it may be idle."""
    async with serving(Echo(), tls=server, linger_s=0.1, keep_alive_s=0.2) as http:
        for more in ((), ("connection: close",)):
            asked = request("GET", f"/big?{BIG}", None, *more)
            assert await asyncio.to_thread(whole, http.port, asked, 0.05, 2**16) > BIG


async def _an_answer_that_nobody_reads_counts_and_ends_its_connection() -> None:
    budget = ByteBudget(2**30)
    async with serving(Echo(), budget, tls=server, write_timeout_s=1.0, tick_s=0.05) as http:
        with closing(await asyncio.to_thread(open_unread, http.port)):
            async with asyncio.timeout(30):
                while budget.held < BIG // 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                while http.connections:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert budget.held == 0


def open_unread(port: int) -> ssl.SSLSocket:
    """A connection that asks for a large answer and reads nothing of it."""
    sock = connect(port, 2**16)
    sock.sendall(request("GET", f"/big?{BIG}"))
    return sock


async def _an_idle_connection_keeps_little_of_what_it_carried() -> None:
    """OpenSSL's buffers grow with what is in them, and shrink only with the connection. Clients are another process."""
    count, size = 60, 900_000
    async with serving(Echo(), tls=server) as http:
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENTS, str(http.port), str(count), str(size), stdin=-1, stdout=-1
        )
        assert client.stdin is not None
        assert client.stdout is not None
        await client.stdout.readline()
        before = resident(os.getpid())
        client.stdin.write(b"\n")
        await client.stdout.readline()
        assert len(http.connections) == count
        grown = (resident(os.getpid()) - before) / count
        client.stdin.close()
        await client.wait()
        print(f"{grown / 1024:.0f} KiB for each idle connection")
        assert grown < 150_000


async def _a_refusal_arrives_and_logs_no_fault() -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with serving(Echo(), tls=server, linger_s=0.1) as http:
        for wrong in (b"rubbish\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"x" * 200_000):
            async with Raw(http.port, tls=trusting) as raw:
                await raw.send(wrong)
                assert (await raw.read()).status in (400, 431)
                assert await raw.closed() == b""
    assert not faults, faults


async def _nothing_is_left_for_the_collector() -> None:
    """Of good connections, of handshakes that fail, of those that are given up or too late."""
    async with serving(Echo(), tls=server, header_timeout_s=0.3) as http:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                async with Raw(http.port, tls=trusting) as raw:
                    assert (await raw.ask("GET", "/")).status == 200
                async with Raw(http.port) as raw:
                    await raw.send(request("GET", "/"))
                    await raw.closed()
                async with Raw(http.port) as raw:
                    await raw.closed()
                async with Raw(http.port):
                    pass
            while http.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = {
                type(thing).__qualname__
                for thing in gc.garbage
                if type(thing).__module__.startswith("inferencehub")
            }
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert not left


test_bodies = on_both_loops(_bodies)
test_a_stream_is_whole = on_both_loops(_a_stream_is_whole)
test_a_long_request_is_answered = on_both_loops(_a_long_request_is_answered)
test_pipelined_requests_are_all_answered = on_both_loops(_pipelined_requests_are_all_answered)
test_a_slow_reader_gets_the_whole_of_its_last_answer = on_both_loops(
    _a_slow_reader_gets_the_whole_of_its_last_answer
)
test_an_answer_that_nobody_reads_counts_and_ends_its_connection = on_both_loops(
    _an_answer_that_nobody_reads_counts_and_ends_its_connection
)
test_an_idle_connection_keeps_little_of_what_it_carried = on_both_loops(
    _an_idle_connection_keeps_little_of_what_it_carried
)
test_a_refusal_arrives_and_logs_no_fault = on_both_loops(_a_refusal_arrives_and_logs_no_fault)
test_nothing_is_left_for_the_collector = on_both_loops(_nothing_is_left_for_the_collector)
