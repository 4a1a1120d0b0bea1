"""Bad requests and slow ones are refused with a sentence, after the answers to earlier requests."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Sequence
from time import monotonic

import pytest
import pytest_asyncio

from inferencehub.core.http1.server import HttpServer
from tests.core.http1.server import MOST, Echo, on_both_loops, serving
from tests.gateway.raw import Answer, Raw, request

NO_HTTP = "expected an HTTP/1.1 request, got something that is none"
GOOD = request("POST", "/", b"{}")


def refused(answer: Answer, status: int, says: str) -> None:
    """Hold an answer to what never became a request against its shape."""
    assert answer.status == status, answer.body
    assert list(answer.json) == ["error"]
    assert says in answer.json["error"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"


BAD: Sequence[tuple[bytes, int, str]] = [
    (b"hello\r\n\r\n", 400, NO_HTTP),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, NO_HTTP),
    (b"GET /\xff HTTP/1.1\r\nhost: h\r\n\r\n", 400, NO_HTTP),
    (b"CONNECT hub:3000 HTTP/1.1\r\nhost: h\r\n\r\n", 400, NO_HTTP),
    (b"CONNECT /a HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", 400, NO_HTTP),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, NO_HTTP),
    (b"GET / HTTP/2.0\r\nhost: h\r\n\r\n", 505, "got one of HTTP/2.0"),
    (b"GET / HTTP/0.9\r\nhost: h\r\n\r\n", 400, NO_HTTP),
    (b"GET /\r\n\r\n", 400, NO_HTTP),
    (b"GET / HTTP/1.2\r\nhost: h\r\n\r\n", 400, NO_HTTP),
    (b"GET / RTSP/1.0\r\nhost: h\r\n\r\n", 400, NO_HTTP),
    (b"GET  / HTTP/1.1\r\nhost: h\r\n\r\n", 400, "one space"),
    (b"GET /a#b HTTP/1.1\r\nhost: h\r\n\r\n", 400, "no path"),
    (b"GET * HTTP/1.1\r\nhost: h\r\n\r\n", 400, "no path"),
    (b"GET http:///a HTTP/1.1\r\nhost: h\r\n\r\n", 400, NO_HTTP),
    (b"GET ftp://h/a HTTP/1.1\r\nhost: h\r\n\r\n", 400, NO_HTTP),
    (b"GET http://a b/ HTTP/1.1\r\nhost: h\r\n\r\n", 400, NO_HTTP),
    (b"GET http://user@h/ HTTP/1.1\r\nhost: h\r\n\r\n", 400, "no host and port"),
    (b"GET http://h/ HTTP/1.1\r\n\r\n", 400, "no Host"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "no Host"),
    (b"GET / HTTP/1.1\r\nhost: h\r\nhost: h\r\n\r\n", 400, "more than one Host"),
    (b"GET / HTTP/1.1\r\nhost: h\r\nHost: i\r\n\r\n", 400, "more than one Host"),
    (b"GET / HTTP/1.0\r\nhost: h\r\nhost: h\r\n\r\n", 400, "more than one Host"),
    (b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400, "no host and port"),
    (b"GET / HTTP/1.1\r\nhost: h, i\r\n\r\n", 400, "no host and port"),
    (b"GET / HTTP/1.1\r\nhost: h/a\r\n\r\n", 400, "no host and port"),
    (b"GET / HTTP/1.1\r\nhost: h:x\r\n\r\n", 400, "no host and port"),
    (b"GET / HTTP/1.1\r\nhost: u@h\r\n\r\n", 400, "no host and port"),
    (b"GET / HTTP/1.1\r\nhost: [::1\r\n\r\n", 400, "no host and port"),
    (b"GET / HTTP/1.1\r\nhost: h\r\nx: 1\r\n 2\r\n\r\n", 400, NO_HTTP),
    (b"GET / HTTP/1.1\r\nhost: h\r\nx : 1\r\n\r\n", 400, NO_HTTP),
    (b"GET / HTTP/1.1\r\nhost: h\r\nx: 1\x002\r\n\r\n", 400, NO_HTTP),
    (b"GET / HTTP/1.1\nhost: h\n\n", 400, NO_HTTP),
    (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n", 400, NO_HTTP),
    (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999999999999999\r\n\r\n", 400, NO_HTTP),
    (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", 400, NO_HTTP),
    (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}", 400, NO_HTTP),
    (b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "'gzip, chunked'"),
    (b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501, "'identity, chunked'"),
    (b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 501, "gzip"),
    (b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, NO_HTTP),
    (b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400, NO_HTTP),
    (b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: identity\r\n\r\n", 400, NO_HTTP),
    (b"POST / HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, NO_HTTP),
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[HttpServer]:
    async with serving(Echo()) as server:
        yield server


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("bad", "status", "says"), BAD)
async def test_what_is_no_http(server: HttpServer, bad: bytes, status: int, says: str) -> None:
    async with Raw(server.port) as raw:
        await raw.send(bad)
        refused(await raw.read(), status, says)
        assert await raw.closed() == b""


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("bad", [b"rubbish\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
async def test_a_good_request_before_it_gets_its_answer_first(
    server: HttpServer, bad: bytes, later: bool
) -> None:
    async with Raw(server.port) as raw:
        await raw.send(GOOD + (b"" if later else bad))
        if later:
            await asyncio.sleep(0.05)
            await raw.send(bad)
        assert (await raw.read()).status == 200
        refused(await raw.read(), 400, NO_HTTP)
        assert await raw.closed() == b""


async def _behind_one_that_runs() -> None:
    handler = Echo()
    async with serving(handler) as server, Raw(server.port) as raw:
        await raw.send(request("POST", "/held", b"a") + b"rubbish\r\n\r\n")
        await handler.until(lambda: bool(handler.held))
        await asyncio.sleep(0.02)
        handler.let_go()
        assert (await raw.read()).json["target"] == "/held"
        refused(await raw.read(), 400, NO_HTTP)
        assert await raw.closed() == b""
    assert handler.gone.empty()


async def _a_huge_head() -> None:
    async with serving(Echo()) as server:
        for size in (66_000, 200_000, 2_000_000):
            for ending in (b"\r\n\r\n", b""):
                for more in (b"", b"connection: upgrade\r\nupgrade: h2c\r\n"):
                    async with Raw(server.port) as raw:
                        assert (await raw.ask("GET", "/")).status == 200
                        await raw.send(
                            b"GET / HTTP/1.1\r\nhost: h\r\n" + more + b"x: " + b"x" * size + ending
                        )
                        refused(await raw.read(), 431, "expected a request head of at most 65536 bytes")
                        assert await raw.closed() == b""
        async with Raw(server.port) as raw:
            assert (await raw.ask("POST", "/", b"x" * 300_000)).json["size"] == 300_000


async def _endless_empty_lines() -> None:
    async with serving(Echo()) as server, Raw(server.port) as raw:
        await raw.send(b"\r\n" * 40_000)
        refused(await raw.read(), 431, "expected a request head")


async def _bodies() -> None:
    async with serving(Echo(), body_timeout_s=0.5) as server:
        async with Raw(server.port) as raw:
            await raw.send(request("POST", "/", b"", f"content-length: {100 * 2**20}"))
            answer = await raw.read()
            assert (answer.status, answer.json) == (
                413, {"error": f"the body has {100 * 2**20} bytes, expected at most {MOST}"},
            )  # fmt: skip
            assert await raw.closed() == b"", "the body never came"
        async with Raw(server.port) as raw:
            assert (await raw.ask("POST", "/", b"x" * (4 * MOST))).status == 413
            assert (await raw.ask("POST", "/refused", b"x" * 1000)).status == 403
            assert (await raw.ask("POST", "/refused", b"", "content-encoding: br")).status == 403
            assert (await raw.ask("GET", "/", b"x" * 300_000)).status == 200
            assert (await raw.ask("POST", "/", b"{}", "content-encoding: br")).status == 415
            cut = gzip.compress(b"{}")[:-4]
            assert "cut short" in (await raw.ask("POST", "/", cut, "content-encoding: gzip")).json["error"]
            assert "cut short" in (await raw.ask("POST", "/", b"", "content-encoding: gzip")).json["error"]
            rest = gzip.compress(b"{}") + b"rest"
            assert (
                "not compressed as"
                in (await raw.ask("POST", "/", rest, "content-encoding: gzip")).json["error"]
            )
            rest = zlib.compress(b"{}") * 2
            refusal = await raw.ask("POST", "/", rest, "content-encoding: deflate")
            assert "got 10 bytes behind its end" in refusal.json["error"]
            rest = gzip.compress(b"") * 3000
            refusal = await raw.ask("POST", "/", rest, "content-encoding: gzip")
            assert "got 20000 bytes behind its end" in refusal.json["error"]
            bomb = gzip.compress(bytes(MOST)) + gzip.compress(b"x")
            assert (await raw.ask("POST", "/", bomb, "content-encoding: gzip")).status == 413
            bomb = gzip.compress(bytes(2 * MOST))
            assert (await raw.ask("POST", "/", bomb, "content-encoding: gzip")).status == 413
            piece = b"10000\r\n" + b"x" * 2**16 + b"\r\n"
            await raw.send(
                request("POST", "/", b"", "transfer-encoding: chunked") + piece * 40 + b"0\r\n\r\n"
            )
            answer = await raw.read()
            assert (answer.status, "more than" in answer.json["error"]) == (413, True)
            assert (await raw.ask("POST", "/", b"{}")).json["size"] == 2


async def _chunks_that_are_none() -> None:
    head = request("POST", "/", b"", "transfer-encoding: chunked")
    bad = (
        b"zz\r\n",
        b"2\r\n{}x",
        b"2\n{}\r\n",
        b"0x2\r\n{}\r\n",
        b"f" * 17 + b"\r\n",
        b"2;" + b"e" * 70_000 + b"\r\n",
    )
    async with serving(Echo()) as server:
        for chunks in (*bad, *[b"2\r\n{}\r\n" + one for one in bad], b"0\r\n" + b"t: 1\r\n" * 20_000):
            async with Raw(server.port) as raw:
                await raw.send(head + chunks)
                answer = await raw.read()
                assert (answer.status, answer.headers["connection"]) == (400, "close")
                assert NO_HTTP in answer.json["error"]
                assert await raw.closed() == b""


async def _silence() -> None:
    async with serving(Echo(), header_timeout_s=0.2, keep_alive_s=0.5) as server:
        async with Raw(server.port) as silent:
            assert await silent.closed() == b""
        async with Raw(server.port) as raw:
            for _ in range(3):
                assert (await raw.ask("GET", "/")).status == 200
                await asyncio.sleep(0.3)  # longer than a head may take, and shorter than one may be idle
            began = monotonic()
            assert await raw.closed() == b""
            assert monotonic() - began < 2


async def _what_drips() -> None:
    async with serving(Echo(), header_timeout_s=0.3, body_timeout_s=0.3) as server:
        for before in (b"", GOOD):
            async with Raw(server.port) as raw:
                await raw.send(before)
                if before:
                    assert (await raw.read()).status == 200
                answered = asyncio.ensure_future(raw.read())
                for letter in b"POST / HTTP/1.1\r\nx: " + b"x" * 200:
                    if answered.done():
                        break
                    raw.writer.write(bytes([letter]))
                    await asyncio.sleep(0.02)
                refused(await answered, 408, "expected the whole head of a request within 0.3 s")
        for head in (
            request("POST", "/", b"", "content-length: 1000"),
            request("POST", "/", b"", "transfer-encoding: chunked") + b"400\r\n",
        ):
            async with Raw(server.port) as raw:
                await raw.send(head + b"12345")
                answer = await raw.read()
                assert (answer.status, answer.headers["connection"]) == (408, "close")
                assert answer.json == {
                    "error": "expected the whole body within 0.3 s, got 5 bytes until then"
                }
                assert await raw.closed() == b""


async def _leaving() -> None:
    handler = Echo()
    async with serving(handler) as server:
        parts = (
            request("POST", "/held", b"a"),
            request("POST", "/held", b"a") + GOOD * 3,
            request("POST", "/half", b"x" * 200_000)[:-1],
            request("POST", "/half", b"", "transfer-encoding: chunked") + b"5\r\n123",
        )
        for part in parts:
            async with Raw(server.port) as raw:
                await raw.send(part)
                await handler.planned.get()
            assert await handler.gone.get() == part.split(b" ")[1]
        async with Raw(server.port) as raw:
            await raw.ask("POST", "/", b"{}")
    assert handler.gone.empty()


test_behind_a_request_that_runs_rubbish_waits_for_its_answer = on_both_loops(_behind_one_that_runs)
test_a_huge_head = on_both_loops(_a_huge_head)
test_endless_empty_lines_are_a_huge_head = on_both_loops(_endless_empty_lines)
test_bodies_that_are_refused_are_read_and_dropped = on_both_loops(_bodies)
test_chunks_that_are_none = on_both_loops(_chunks_that_are_none)
test_silent_connections_are_closed = on_both_loops(_silence)
test_what_drips_is_refused = on_both_loops(_what_drips)
test_a_caller_that_leaves_is_noticed = on_both_loops(_leaving)
