"""Connections with requests that are almost right: changed, cut, and sent one behind another.

The requests are made from shapes of the corpus. A request in pieces gets the same answer as in one piece. No request
may be answered with 500, or cause an uncaught exception. After each batch a good request on a new connection is
answered. In the end no connection is open and no byte is held. The seed is fixed; `FUZZ_SEED` and `FUZZ_REQUESTS` set
another seed and number.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.http_api.corpus.all_shapes import CORPUS
from tests.gateway.http_api.corpus.pieces import BODY, CHUNKED, CHUNKS, SIZED, get, post
from tests.gateway.http_api.probing import MARKER, Probe, connect, settled
from tests.hub import Hub, eventually, mock_model, running_hub

pytestmark = pytest.mark.long

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "1500"))
BATCH = 100  # connections that are open at a time
SHAPES = [shape for shape in CORPUS.values() if len(shape) < 2**14]
GOOD = [get(), post(SIZED), post(CHUNKED, body=CHUNKS), post(b"Expect: 100-continue", SIZED)]
TOKENS = [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b",", b";", b"\x00", b"\x7f", b"\xff", b"0", b"10\r\n",
          b"HTTP/1.1", b"HTTP/1.0", b"Content-Length: 16\r\n", b"Content-Length: 9\r\n", b"Host: hub\r\n",
          b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
          b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n", b"a" * 5000, BODY]  # fmt: skip


class Fuzz:
    """What is sent on connections, out of a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def bend(self, sent: bytes) -> bytes:
        """`sent` with a few of its bytes changed, or its end cut off."""
        pick, bent = self.random, bytearray(sent)
        for _ in range(pick.choice([0, 1, 1, 1, 2, 5])):
            at = pick.randrange(len(bent) + 1)
            match pick.randrange(7):
                case 0 if at < len(bent):
                    bent[at] ^= 1 << pick.randrange(8)
                case 1:
                    del bent[at : at + pick.randrange(1, 9)]
                case 2:
                    bent[at:at] = bent[at : at + pick.randrange(1, 60)]
                case 3 if pick.random() < 0.3:
                    del bent[at:]
                case 4:
                    bent[at:at] = pick.randbytes(pick.randrange(1, 9))
                case _:
                    bent[at:at] = pick.choice(TOKENS)
        return bytes(bent)

    def pipeline(self) -> bytes:
        """A few requests one behind another, most of them bent, some good."""
        pick = self.random
        parts = [
            pick.choice(GOOD) if pick.random() < 0.3 else self.bend(pick.choice(SHAPES))
            for _ in range(pick.choice([1, 1, 2, 3, 8]))
        ]
        return b"".join(parts)

    def cut(self, sent: bytes) -> list[bytes]:
        """`sent` in one to six pieces."""
        cuts = sorted(self.random.sample(range(1, len(sent)), self.random.choice([0, 0, 1, 2, 5])))
        return [sent[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]


async def send(port: int, pieces: list[bytes]) -> Probe:
    """A connection on which these pieces were sent, each read by the server before the next one follows."""
    probe = await connect(port, pieces[0])
    for piece in pieces[1:]:
        for _ in range(3):  # the server is in this loop: it reads in the next turns
            await asyncio.sleep(0)
        if not probe.transport.is_closing():
            probe.transport.write(piece)
    return probe


def same(probe: Probe) -> tuple[list[int], bool]:
    """What may not depend on where a request is cut; 100 may, for it is sent only before a body has begun."""
    return [status for status in probe.statuses() if status != 100], probe.ended.done()


async def held(hub: Hub) -> dict[str, float]:
    """What the gateway holds, as its metrics say."""
    lines = [line.split(" ") for line in (await hub.metrics()).splitlines()]
    names = ("inferencehub_gateway_held_bytes", 'inferencehub_gateway_in_flight{front="http"}')
    return {line[0]: float(line[1]) for line in lines if line[0] in names}


async def test_requests_that_are_almost_right(tmp_path: Path) -> None:
    mock_model(tmp_path, slots=8)
    fuzz, statuses, uncaught = Fuzz(int(os.environ.get("FUZZ_SEED", "1"))), Counter[int](), list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: uncaught.append(context))
    async with running_hub(tmp_path, default_model="quick") as hub:
        before, port = await held(hub), hub.gateway.port
        assert list(before.values()) == [0, 0]
        for _ in range(REQUESTS // BATCH):
            sent = [fuzz.pipeline() for _ in range(BATCH)]
            probes = await asyncio.gather(*[send(port, fuzz.cut(one + MARKER)) for one in sent])
            whole = await asyncio.gather(*[connect(port, one + MARKER) for one in sent])
            await settled(
                port, [*probes, *whole]
            )  # asks good requests on new connections, and has their answers
            for one, probe, uncut in zip(sent, probes, whole, strict=True):
                assert same(probe) == same(uncut), (one, probe.came, uncut.came)
                uncut.transport.abort()
                statuses.update(probe.statuses())
                assert 500 not in probe.statuses(), (one, probe.came)
                assert probe.came.startswith(b"HTTP/1.1 ") or not probe.came, (one, probe.came)
                probe.transport.abort()
            assert not uncaught, uncaught
        await eventually(lambda: not hub.gateway.http.connections)
        assert await held(hub) == before
    print("\nanswers by status:", dict(sorted(statuses.items())))
    assert statuses[200] > REQUESTS // 10
    assert statuses[400] > REQUESTS // 10
