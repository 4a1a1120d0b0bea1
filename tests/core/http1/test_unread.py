"""Callers that do not read their answers: they cost the server little, and do not affect other callers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest

from inferencehub.core.http1.server import HttpServer
from inferencehub.core.lane.byte_budget import ByteBudget
from tests.core.http1.server import Echo, on_both_loops, serving
from tests.gateway.raw import Raw, request

BIG = 12_000_000


async def unread(port: int, data: bytes) -> socket.socket:
    """A connection that sends this and reads nothing, with a small buffer for what comes."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    await asyncio.get_running_loop().sock_sendall(sock, data)
    return sock


async def until(condition: object) -> None:
    """Wait for what nobody tells."""
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def all_rest(server: HttpServer, relief_s: float) -> None:
    """Wait until each caller that does not read may be dropped: nothing went out to it for longer than that and two ticks.

    Before, what the kernel takes into its buffers counts as progress, and a fast machine asks within that time.
    """
    loop, waiting = asyncio.get_running_loop(), server.unread._waiting
    await until(lambda: waiting and all(loop.time() - one.since > relief_s + 0.1 for one in waiting.values()))


async def _counted_and_ended() -> None:
    budget = ByteBudget(2**30)
    async with serving(Echo(), budget, write_timeout_s=2, tick_s=0.05) as server:
        socks = [await unread(server.port, request("GET", f"/big?{BIG}")) for _ in range(3)]
        await until(lambda: budget.held > 3 * (BIG - 8_000_000))
        await until(lambda: not server.connections)
        assert budget.held == 0
        for sock in socks:
            sock.close()


async def _slow_is_not_ended() -> None:
    budget = ByteBudget(2**30)
    async with serving(Echo(), budget, write_timeout_s=1, tick_s=0.05) as server:
        sock = await unread(server.port, request("GET", f"/big?{BIG}"))
        got, held = 0, []
        loop = asyncio.get_running_loop()
        for _ in range(30):  # longer than `write_timeout_s`
            await asyncio.sleep(0.05)
            wanted = got + 200_000
            while got < wanted:
                piece = await loop.sock_recv(sock, wanted - got)
                assert piece, "it was ended"
                got += len(piece)
            held.append(budget.held)
        while got < BIG:
            piece = await loop.sock_recv(sock, 2**20)
            assert piece, "it was ended"
            got += len(piece)
        assert held[-1] < held[0], "what went out is given back"
        await until(lambda: budget.held == 0)
        sock.close()


async def _next_one_waits() -> None:
    handler = Echo()
    async with serving(handler) as server:
        sock = await unread(server.port, request("GET", f"/big?{BIG}") * 4)
        await handler.planned.get()
        await asyncio.sleep(0.1)
        assert handler.planned.empty(), "no request begins while an answer is not read"
        loop, got = asyncio.get_running_loop(), 0
        while got < 4 * BIG:
            piece = await loop.sock_recv(sock, 2**20)
            assert piece, "it was ended"
            got += len(piece)
        assert handler.begun == 4
        sock.close()


async def _others_are_served() -> None:
    budget = ByteBudget(100 * 2**20)
    async with serving(Echo(), budget, relief_s=0.05, tick_s=0.05) as server, AsyncExitStack() as stack:
        for _ in range(50):
            sock = await unread(server.port, request("GET", f"/big?{BIG}"))
            stack.callback(sock.close)
        await all_rest(server, 0.05)
        async with Raw(server.port) as raw:
            for _ in range(20):
                assert (await raw.ask("POST", "/", b"x" * 1_000_000)).status == 200
                await asyncio.sleep(0.01)
        assert 0 < len(server.connections) < 50, "some had to go, and only some"


async def _streams_that_do_not_wait() -> None:
    budget = ByteBudget(2_000_000)
    relief_s = 1.0  # longer than a busy machine takes for 200 writes, or callers are dropped while they are written to
    async with serving(Echo(), budget, relief_s=relief_s, tick_s=0.05) as server, AsyncExitStack() as stack:
        for _ in range(3):
            sock = await unread(server.port, request("GET", "/eager?200"))
            stack.callback(sock.close)
        await until(lambda: budget.held > 2_000_000)
        await all_rest(server, relief_s)
        async with Raw(server.port) as raw:
            assert (await raw.ask("POST", "/", b"x" * 1_000_000)).status == 200
            assert budget.held <= 2_000_000


async def _pipelining_is_bounded() -> None:
    handler, budget = Echo(), ByteBudget(2**30)
    async with serving(handler, budget) as server, Raw(server.port) as raw:
        await raw.send(request("POST", "/held", b"a"))
        await handler.until(lambda: bool(handler.held))
        try:
            async with asyncio.timeout(0.5):
                while raw.sent < 100 * 2**20:
                    await raw.send(request("POST", "/", b"x" * 500) * 100)
        except TimeoutError:
            pass
        assert raw.sent < 20 * 2**20, "the server reads on"
        assert 60_000 < budget.held < 150_000
        assert handler.begun == 1


async def _what_waits_is_counted() -> None:
    budget = ByteBudget(100_000)
    async with serving(Echo(), budget) as server, Raw(server.port) as first, Raw(server.port) as second:
        head = b"GET / HTTP/1.1\r\nhost: h\r\nx: "
        await first.send(head + b"x" * 60_000)
        await until(lambda: budget.held > 60_000)
        await second.send(head + b"x" * 60_000)
        answer = await second.read()
        assert (answer.status, answer.headers["connection"]) == (429, "close")
        await first.send(b"\r\n\r\n")
        assert (await first.read()).status == 200
        assert budget.held == 0


async def _no_room_for_what_waits() -> None:
    handler, budget = Echo(), ByteBudget(50_000)
    async with serving(handler, budget) as server, Raw(server.port) as raw:
        await raw.send(request("POST", "/held", b"a"))
        await handler.until(lambda: bool(handler.held))
        await raw.send(request("POST", "/", b"x" * 500) * 110)
        await asyncio.sleep(0.05)
        handler.let_go()
        answer = await raw.read()
        assert (answer.json["target"], answer.headers["connection"]) == ("/held", "close")
        assert await raw.closed() == b""


async def _busy_bodies() -> None:
    budget = ByteBudget(500_000)
    async with serving(Echo(), budget) as server, Raw(server.port) as raw, Raw(server.port) as other:
        whole = request("POST", "/", b"x" * 400_000)
        await raw.send(whole[:-1])
        await until(lambda: budget.held >= 399_000)
        chunked = (
            request("POST", "/", b"", "transfer-encoding: chunked")
            + b"30000\r\n"
            + b"x" * 196_608
            + b"\r\n0\r\n\r\n"
        )
        for data in (whole, chunked):
            await other.send(data)
            answer = await other.read()
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
            assert "the limit is 500000" in answer.json["error"]
        assert (await other.ask("POST", "/", b"x" * 40_000)).status == 200
        await raw.send(b"x")
        assert (await raw.read()).status == 200


test_answers_that_nobody_reads_are_counted_and_ended = on_both_loops(_counted_and_ended)
test_a_caller_that_reads_slowly_is_not_ended = pytest.mark.timing(on_both_loops(_slow_is_not_ended))
test_no_request_begins_while_an_answer_waits = pytest.mark.long(on_both_loops(_next_one_waits))
test_callers_that_do_not_read_cost_others_no_refusal = pytest.mark.long(on_both_loops(_others_are_served))
test_pipelining_without_reading_is_bounded = on_both_loops(_pipelining_is_bounded)
test_a_head_in_pieces_is_counted = on_both_loops(_what_waits_is_counted)
test_without_room_for_what_waits_the_connection_ends = on_both_loops(_no_room_for_what_waits)
test_bodies_that_the_process_has_no_room_for_are_refused = on_both_loops(_busy_bodies)
test_streams_that_do_not_wait_for_their_callers_are_counted = on_both_loops(_streams_that_do_not_wait)
