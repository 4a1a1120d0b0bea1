"""How a server ends: it answers running requests, closes idle connections, and leaves nothing open."""

from __future__ import annotations

import asyncio
import gc
import socket

from inferencehub.core.http1.limits import Limits
from inferencehub.core.http1.recording.line import RecordedCall
from inferencehub.core.http1.server import HttpServer
from inferencehub.core.lane.byte_budget import ByteBudget
from tests.core.http1.server import Echo, on_both_loops, serving
from tests.gateway.raw import Raw, request


async def _stop() -> None:
    handler = Echo()
    server = HttpServer(handler, 0, Limits(), ByteBudget(2**30))
    await server.start()
    async with (
        Raw(server.port) as idle,
        Raw(server.port) as runs,
        Raw(server.port) as half,
        Raw(server.port) as new,
    ):
        assert (await idle.ask("GET", "/")).status == 200
        await runs.send(request("POST", "/held", b"a"))
        await handler.until(lambda: bool(handler.held))
        await half.send(request("POST", "/", b"ab")[:-1])
        while len(server.connections) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        stopping = asyncio.ensure_future(server.stop(5))
        assert await idle.closed() == b""
        for raw in (half, new):
            await raw.send(b"b" if raw is half else request("GET", "/"))
            answer = await raw.read()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await raw.closed() == b""
        handler.let_go()
        assert (await runs.read()).headers["connection"] == "close"
        await stopping
        assert not server.connections


async def _connections_of_the_last_moment() -> None:
    for _ in range(5):
        server = HttpServer(Echo(), 0, Limits(), ByteBudget(2**30))
        await server.start()
        stopping = asyncio.ensure_future(server.stop(5))
        # The kernel makes these connections; the event loop does not run in between, so the server has seen none of them.
        made = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        raws = [await Raw(server.port, sock).__aenter__() for sock in made]
        for raw in raws:
            await raw.send(request("GET", "/"))
        assert [(await raw.read()).status for raw in raws] == [200] * 20
        await stopping


async def _new_ones_get_a_moment() -> None:
    server = HttpServer(Echo(), 0, Limits(new_s=0.1), ByteBudget(2**30))
    await server.start()
    async with Raw(server.port) as raw:
        stopping = asyncio.ensure_future(server.stop(5))
        assert await raw.closed() == b""
        await stopping


async def _cut_off() -> None:
    handler = Echo()
    async with serving(handler) as server, Raw(server.port) as runs, Raw(server.port) as half:
        await runs.send(request("POST", "/held", b"a"))
        await half.send(request("POST", "/", b"x" * 100_000)[:-1])
        for _ in range(2):
            await handler.planned.get()
        await server.stop(0)
        server.cut_off()
        for raw in (runs, half):
            answer = await raw.read()
            assert (answer.status, answer.headers["connection"]) == (503, "close")
            assert await raw.closed() == b""


async def _nothing_is_left() -> None:
    """With the collector off: whatever is part of a circle would stay."""
    handler = Echo()
    good = (
        request("POST", "/", b"{}"), request("GET", "/"), request("POST", "/", b"x" * 100_000),
        request("POST", "/", b"", "transfer-encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n",
        request("POST", "/", b"", "content-encoding: gzip"), request("POST", "/refused", b"x" * 100_000),
        request("POST", "/", b"x" * 3_000_000), request("POST", "/", b"", "expect: 100-continue"),
    )  # fmt: skip
    bad = (
        b"rubbish\r\n\r\n", request("POST", "/", b"xxx")[:-1], request("POST", "/held", b"") + good[0], b"GET / HT",
        request("POST", "/", b"x" * 100_000)[:-1], good[3][:-3], good[3][:-10] + b"zz", request("GET", "/big?9000000"),
    )  # fmt: skip

    async def use(port: int) -> None:
        async with Raw(port) as raw:
            for one in good:
                for part in (one[:30], one[30:]):
                    await raw.send(part)
                    await asyncio.sleep(0)
                await raw.read()
        for one in bad:
            async with Raw(port) as raw:
                await raw.send(one)
                await asyncio.sleep(0.01)

    async with serving(handler) as server:
        await use(server.port)
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await use(server.port)
            while server.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            ours = [
                thing
                for thing in gc.get_objects()
                if str(type(thing).__module__).startswith("inferencehub.core.http1")
                and type(thing) is not RecordedCall  # of other tests, whose examples Hypothesis keeps
            ]
            left = {type(thing).__name__ for thing in ours} - {
                "HttpServer",
                "Serving",
                "Unread",
                "Limits",
                "StatusLines",
            }
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            circles = {type(thing) for thing in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert not left
        assert not [
            kind for kind in circles if str(kind.__module__).startswith(("inferencehub", "httptools"))
        ]


test_requests_that_run_are_answered_and_idle_connections_closed = on_both_loops(_stop)
test_connections_of_the_last_moment_are_served = on_both_loops(_connections_of_the_last_moment)
test_a_new_connection_gets_a_moment = on_both_loops(_new_ones_get_a_moment)
test_what_takes_too_long_is_cut_off_with_an_answer = on_both_loops(_cut_off)
test_nothing_is_left_for_the_collector = on_both_loops(_nothing_is_left)
