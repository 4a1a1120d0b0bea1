"""Requests through TLS, cut anywhere: the answers are those of a port without TLS, byte by byte.

There are two kinds of cuts. One divides the text over records of TLS, of which each is sent whole. The other divides the
records themselves over segments of TCP, from the end of the handshake on, which also puts requests into the segment that
ends the handshake. `make test` takes some cuts of each case with a fixed seed, `make test-long` takes all.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import permutations
from random import Random
from typing import Any

import pytest
import uvloop

from inferencehub.core.tls.certificate import Certificate
from tests.authority import Authority, client
from tests.core.http1.server import RUN, Echo, serving
from tests.core.http1.test_cut_anywhere import CASES, DATE, END, GOOD, LAST, MOST, answers, statuses
from tests.core.http1.test_refusals import BAD

AT_ONCE = 32
Cuts = Callable[[int], Sequence[int]]  # the places at which a text of a length is cut


@pytest.fixture(scope="module", autouse=True)
def certificate(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A certificate for the servers of this file, and what their callers trust."""
    global server, trusting
    authority = Authority(tmp_path_factory.mktemp("certificate"), "authority")
    chain, key = authority.signed("server")
    server = Certificate("HUB_TLS", str(chain), str(key), protocols=["http/1.1"])
    trusting = client(authority.certificate.read_text())


server: Certificate
trusting: ssl.SSLContext


@asynccontextmanager
async def both() -> AsyncIterator[tuple[int, int]]:
    """Two servers with the limits of the plain test; the port without TLS, and the one with it."""
    limits: dict[str, Any] = {"max_head_bytes": 600, "linger_s": 0.05}
    async with (
        serving(Echo(MOST), **limits) as plain,
        serving(Echo(MOST), tls=server, **limits) as secure,
    ):
        yield plain.port, secure.port


def every(length: int) -> Sequence[int]:
    """All places."""
    return range(1, length)


def some(length: int) -> Sequence[int]:
    """The first and the last place, and a few others, the same in each run."""
    return sorted({1, length - 1, *Random(length).sample(range(1, length), 4)})


def groups(cuts: Sequence[int]) -> Iterator[Sequence[int]]:
    """So many cuts as are tried at a time."""
    for at in range(0, len(cuts), AT_ONCE):
        yield cuts[at : at + AT_ONCE]


async def segments(port: int, whole: bytes, cut: int = 0) -> tuple[bytes, int]:
    """All that comes back for a text, and the bytes of its records with what ends the handshake.

    They are sent as one, or as two parts where there is a cut.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(2**16))
            tls.write(whole)
            sent = outgoing.read()
            for part in (sent[:cut], sent[cut:]):
                writer.write(part)
                for _ in range(3):  # the server is on this loop: by then it has read what was sent
                    await asyncio.sleep(0)
            incoming.write(await reader.read())
    finally:
        writer.transport.abort()
    came = b""
    while piece := tls.read(
        2**16
    ):  # fails if there is no more, and the server has not said that this is the end
        came += piece
    return DATE.sub(b"", came), len(sent)


async def _in_records(cuts: Cuts) -> None:
    async with both() as (plain, secure):
        for whole in CASES:
            expected = await answers(plain, whole)
            assert len(statuses(expected)) == 2, expected
            for group in groups(cuts(len(whole))):
                found = await asyncio.gather(
                    *[answers(secure, whole[:cut], whole[cut:], tls=trusting) for cut in group]
                )
                for cut, came in zip(group, found, strict=True):
                    assert came == expected, (whole, cut)


async def _in_segments(cuts: Cuts) -> None:
    async with both() as (plain, secure):
        for whole in (GOOD["chunks"] + GOOD["post"] + END, GOOD["post"] + LAST["lengths"]):
            expected = await answers(plain, whole)
            came, length = await segments(secure, whole)
            assert came == expected
            assert length > len(whole) + 40, "what ends the handshake is sent with it"
            for group in groups(cuts(length)):
                found = await asyncio.gather(*[segments(secure, whole, cut) for cut in group])
                for cut, (came, _) in zip(group, found, strict=True):
                    assert came == expected, (whole, cut)


async def _in_small_records() -> None:
    async with both() as (plain, secure):
        whole = b"".join(GOOD.values()) + END
        expected = await answers(plain, whole)
        for size in (1, 3, 100):
            parts = [whole[at : at + size] for at in range(0, len(whole), size)]
            assert await answers(secure, *parts, tls=trusting) == expected, size


async def _in_orders(orders: Sequence[tuple[str, str, str]]) -> None:
    """Two good ones and what ends the connection follow one another in one record."""
    async with both() as (plain, secure):
        for at in range(0, len(orders), AT_ONCE):
            texts = [GOOD[a] + GOOD[b] + LAST[last] for a, b, last in orders[at : at + AT_ONCE]]
            expected = await asyncio.gather(*[answers(plain, text) for text in texts])
            found = await asyncio.gather(*[answers(secure, text, tls=trusting) for text in texts])
            for order, wanted, came in zip(orders[at:], expected, found, strict=False):
                assert came == wanted, order


async def _what_is_no_http() -> None:
    async with both() as (plain, secure):
        for bad, status, _ in BAD:
            expected = await answers(plain, GOOD["post"] + bad)
            assert statuses(expected) == [b"200", b"%d" % status], bad
            assert await answers(secure, GOOD["post"] + bad, tls=trusting) == expected, bad
            assert await answers(secure, GOOD["post"], bad, tls=trusting) == expected, bad


ORDERS = [(a, b, last) for last in LAST for a, b in permutations(GOOD, 2)]


@pytest.mark.parametrize("loop", RUN)
def test_some_cuts_into_records(loop: str) -> None:
    RUN[loop](_in_records(some))


@pytest.mark.parametrize("loop", RUN)
def test_some_cuts_into_segments(loop: str) -> None:
    RUN[loop](_in_segments(some))


@pytest.mark.parametrize("loop", RUN)
def test_small_records(loop: str) -> None:
    RUN[loop](_in_small_records())


def test_some_orders() -> None:
    uvloop.run(_in_orders(Random(7).sample(ORDERS, 60)))


def test_what_is_no_http_behind_a_good_request() -> None:
    uvloop.run(_what_is_no_http())


@pytest.mark.long
def test_each_cut_into_records() -> None:
    uvloop.run(_in_records(every))


@pytest.mark.long
def test_each_cut_into_segments() -> None:
    uvloop.run(_in_segments(every))


@pytest.mark.long
def test_each_order() -> None:
    uvloop.run(_in_orders(ORDERS))
