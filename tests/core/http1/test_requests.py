"""Good requests: in one piece, in several pieces, and several at once."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable

from tests.core.http1.server import Echo, on_both_loops, serving
from tests.gateway.raw import Raw, request


def in_members(count: int) -> Callable[[bytes], bytes]:
    """Compresses a body as several gzip members, one behind the other (RFC 1952 2.2); some are empty."""

    def pack(body: bytes) -> bytes:
        size = len(body) // count + 1
        return b"".join([gzip.compress(body[at : at + size]) for at in range(0, size * count, size)])

    return pack


GOOD = b'{"features":[1,2,3]}'


async def _a_request_and_its_answer() -> None:
    async with serving(Echo()) as server, Raw(server.port) as raw:
        for size in (0, 1, 20, 5_000, 60_000, 200_000, 2**20):
            body = b"x" * size
            answer = await raw.ask("POST", "/a?b=1", body, "X-One: 1", "x-two:  2 \t")
            assert answer.status == 200
            told = answer.json
            assert (told["method"], told["target"], told["version"]) == ("POST", "/a?b=1", "1.1")
            assert (told["size"], told["body"]) == (size, "x" * min(size, 100))
            assert told["headers"] == [
                ["host", "hub"], ["x-one", "1"], ["x-two", "2"], ["content-length", str(size)]
            ]  # fmt: skip
            assert set(answer.headers) == {"date", "content-type", "content-length"}


async def _equal_names_stay() -> None:
    async with serving(Echo()) as server, Raw(server.port) as raw:
        told = (await raw.ask("GET", "/", None, "a: 1", "A: 2", "b: 3", "a:")).json
        assert told["headers"] == [["host", "hub"], ["a", "1"], ["a", "2"], ["b", "3"], ["a", ""]]


async def _chunks() -> None:
    head = request("POST", "/", b"", "transfer-encoding: chunked")
    chunks = b"".join([b"1;a=b\r\n%c\r\n" % byte for byte in GOOD])
    async with serving(Echo()) as server, Raw(server.port) as raw:
        for end in (b"0\r\n\r\n", b"0\r\nx-trailer: 1\r\n\r\n"):
            await raw.send(head + chunks + end + request("GET", "/next"))
            answer = await raw.read()
            assert answer.json["body"] == GOOD.decode()
            assert ["x-trailer", "1"] not in answer.json["headers"]
            assert (await raw.read()).json["target"] == "/next"
        large = b"10000\r\n" + b"x" * 2**16 + b"\r\n"
        await raw.send(head + large * 10 + b"0\r\n\r\n")
        assert (await raw.read()).json["size"] == 10 * 2**16


async def _compressed() -> None:
    async with serving(Echo()) as server, Raw(server.port) as raw:
        for body in (GOOD, b"x" * 100_000):
            for coding, pack in (
                ("gzip", gzip.compress),
                ("X-GZIP", gzip.compress),
                ("gzip", in_members(2)),
                ("gzip", in_members(50)),
                ("deflate", zlib.compress),
            ):
                answer = await raw.ask("POST", "/", pack(body), f"content-encoding: {coding}")
                assert answer.json["size"] == len(body)
            assert (await raw.ask("POST", "/", body, "content-encoding: identity")).json["size"] == len(body)


async def _answers_keep_their_order() -> None:
    handler = Echo()
    async with serving(handler) as server, Raw(server.port) as raw:
        whole = [request("POST", f"/{n}", b"x" * n) for n in range(200)]
        await raw.send(b"".join(whole))
        for n in range(200):
            told = (await raw.read()).json
            assert (told["target"], told["size"]) == (f"/{n}", n)
        await raw.send(request("POST", "/held", b"a") + request("GET", "/b"))
        await handler.until(lambda: bool(handler.held))
        assert handler.begun == 201, "the second one waits"
        handler.let_go()
        assert [(await raw.read()).json["target"] for _ in range(2)] == ["/held", "/b"]


async def _an_offer_of_another_protocol_is_ignored() -> None:
    offer = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__")
    length, chunked = (
        request("POST", "/", GOOD, *offer),
        request("POST", "/", b"", "transfer-encoding: chunked", *offer),
    )
    chunked += b"14\r\n" + GOOD + b"\r\n0\r\n\r\n"
    none = request("GET", "/", None, *offer)
    async with serving(Echo()) as server, Raw(server.port) as raw:
        data = length + chunked + none + chunked + length
        for cut in (0, 20, len(length) - 3, len(length) + len(chunked) - 1):
            await raw.send(data[:cut])
            await asyncio.sleep(0.01)
            await raw.send(data[cut:])
            sizes = [(await raw.read()).json["size"] for _ in range(5)]
            assert sizes == [20, 20, 0, 20, 20]


async def _expectations() -> None:
    head = request("POST", "/", b"", "expect: 100-Continue", f"content-length: {len(GOOD)}")
    async with serving(Echo()) as server, Raw(server.port) as raw:
        await raw.send(head)
        assert await raw.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await raw.send(GOOD)
        assert (await raw.read()).json["size"] == len(GOOD)
        await raw.send(head + GOOD)
        assert (await raw.read()).json["size"] == len(GOOD), "who sends the body at once needs no word"
        await raw.send(request("POST", "/refused", b"", "expect: 100-continue", "content-length: 5"))
        answer = await raw.read()
        assert (answer.status, answer.headers["connection"]) == (403, "close")
        assert await raw.closed() == b""


async def _http_1_0() -> None:
    for more in (
        (),
        ("connection: keep-alive",),
        ("connection: upgrade", "upgrade: h2c"),
        ("expect: 100-continue",),
    ):
        async with serving(Echo()) as server, Raw(server.port) as raw:
            whole = (
                request("POST", "/", GOOD, *more)
                .replace(b"HTTP/1.1", b"HTTP/1.0")
                .replace(b"host: hub\r\n", b"")
            )
            for part in (whole[: -len(GOOD)], GOOD):
                await raw.send(part)
                await asyncio.sleep(0.01)
            answer = await raw.read()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert (answer.json["version"], answer.json["size"]) == ("1.0", len(GOOD))
            assert await raw.closed() == b""


async def _close() -> None:
    for value in ("close", "Keep-Alive, Close"):
        async with serving(Echo()) as server, Raw(server.port) as raw:
            answer = await raw.ask("POST", "/", GOOD, f"connection: {value}")
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await raw.closed() == b""


async def _no_body_for_head() -> None:
    async with serving(Echo()) as server, Raw(server.port) as raw:
        await raw.send(request("HEAD", "/") + request("GET", "/after"))
        head = await raw.reader.readuntil(b"\r\n\r\n")
        assert b"content-length: " in head
        assert (await raw.read()).json["target"] == "/after"


async def _empty_lines_in_front() -> None:
    async with serving(Echo()) as server, Raw(server.port) as raw:
        for front in (b"\r\n", b"\r\n\r\n", b"\r\n" * 5):
            assert (await raw.ask_again(front + request("POST", "/", GOOD))).json["size"] == len(GOOD)


async def _absolute_form() -> None:
    async with serving(Echo()) as server, Raw(server.port) as raw:
        for target, seen in (
            ("http://h:8/x?y", "/x?y"),
            ("HTTP://h", "/"),
            ("http://h?y", "/?y"),
            ("https://[::1]/", "/"),
        ):
            assert (await raw.ask("GET", target)).json["target"] == seen
        assert (await raw.ask("OPTIONS", "*")).json["target"] == "*"


test_a_request_and_its_answer = on_both_loops(_a_request_and_its_answer)
test_headers_of_equal_names_stay = on_both_loops(_equal_names_stay)
test_chunked_bodies = on_both_loops(_chunks)
test_compressed_bodies = on_both_loops(_compressed)
test_answers_keep_the_order_of_their_requests = on_both_loops(_answers_keep_their_order)
test_an_offer_of_another_protocol_is_ignored = on_both_loops(_an_offer_of_another_protocol_is_ignored)
test_expectations = on_both_loops(_expectations)
test_http_1_0_is_answered_and_closed = on_both_loops(_http_1_0)
test_a_connection_is_closed_where_the_caller_wants_that = on_both_loops(_close)
test_head_has_no_body = on_both_loops(_no_body_for_head)
test_empty_lines_in_front_of_a_request_are_skipped = on_both_loops(_empty_lines_in_front)
test_absolute_form_is_reduced = on_both_loops(_absolute_form)
