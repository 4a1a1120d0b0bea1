"""Bad requests, whatever the JSON in them: their size, encoding, headers and paths are refused with a status and a sentence."""

import asyncio
import gzip
import re
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from tests.gateway.http_api.bad_input import BOTH, INFER, MOST, PREDICT, answers_well, refuse, refused, tensor
from tests.gateway.raw import Raw, request
from tests.hub import Hub, mock_model, running_hub

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    mock_model(models)
    async with running_hub(models, default_model="quick", max_body_bytes=MOST) as hub:
        yield hub


@BOTH
async def test_a_large_body_is_refused_by_its_length_before_it_is_read(hub: Hub, path: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        await raw.send(request("POST", path, b"", f"content-length: {100 * 2**20}"))
        answer = await raw.read()
        refused(path, answer, 413, f"{100 * 2**20} bytes", f"expected at most {MOST}")
        assert raw.sent < 200  # nothing but the head


@BOTH
async def test_a_large_body_in_chunks_is_refused_before_it_is_read_whole(hub: Hub, path: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        answered = asyncio.ensure_future(raw.read())
        await raw.send(request("POST", path, b"", "transfer-encoding: chunked"))
        piece = b"10000\r\n" + b"x" * 2**16 + b"\r\n"
        while not answered.done() and raw.sent < 100 * 2**20:
            await raw.send(piece)
            await asyncio.sleep(0)
        refused(path, await answered, 413, "bytes, expected at most")
        assert raw.sent < 8 * 2**20


@BOTH
async def test_the_sender_of_a_large_body_can_read_the_answer_afterwards(hub: Hub, path: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask("POST", path, b"x" * (4 * 2**20))
        refused(path, answer, 413)
        assert (await raw.ask("GET", "/healthz")).status == 200


@BOTH
async def test_a_gzip_bomb_costs_no_memory(hub: Hub, path: str) -> None:
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(b"0" * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)  # may be repeated as it is
    bomb = gzip.compress(b"", mtime=0)[:10] + block * 960  # 10^9 bytes
    assert len(bomb) < MOST
    tracemalloc.start()
    await refuse(
        hub, path, bomb, 413, "once it is decompressed", f"at most {MOST}", headers=["content-encoding: gzip"]
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * MOST


@BOTH
@pytest.mark.parametrize(
    ("encoding", "body", "says"),
    [
        ("gzip", b'{"features":[1]}', ("not compressed as its content-encoding says", "header")),
        ("deflate", b'{"features":[1]}', ("not compressed as its content-encoding says",)),
        ("deflate", b"\x78" * 9, ("not compressed as its content-encoding says", "header")),
        ("gzip", b"", ("expected one whole compressed body", "cut short")),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-4], ("expected one whole compressed body", "cut short")),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"more", ("not compressed as its content-encoding says",)),
    ],
)  # fmt: skip
async def test_content_encodings(
    hub: Hub, path: str, encoding: str, body: bytes, says: Sequence[str]
) -> None:
    await refuse(hub, path, body, 400, *says, headers=[f"content-encoding: {encoding}"])


@BOTH
@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "x" * 5000])
async def test_content_encodings_that_are_not_taken(hub: Hub, path: str, encoding: str) -> None:
    says = (f"'{encoding[:80]}'", "expected gzip, deflate or identity")
    await refuse(hub, path, b"{}", 415, *says, headers=[f"content-encoding: {encoding}"])


@BOTH
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "1e3", "soon", "", "300001", "9" * 400])
async def test_timeouts_that_are_none(hub: Hub, path: str, value: str) -> None:
    body = {"features": [1]} if path == PREDICT else tensor([1])
    says = ("X-Request-Timeout-Ms", "a whole number from 1 to 300000", f"got '{value[:40]}'")
    await refuse(hub, path, body, 400, *says, headers=[f"x-request-timeout-ms: {value}"])


@pytest.mark.parametrize("id", ["", "a b", "x" * 129, "caf\xe9", "tab\tin it"])
async def test_ids_that_are_none_are_replaced(hub: Hub, id: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask("POST", PREDICT, b'{"features":[1]}', f"x-request-id: {id}")
    assert answer.status == 200
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", answer.headers["x-request-id"])


@pytest.mark.parametrize("size", [66_000, 200_000])
@pytest.mark.parametrize("ending", [b"\r\n\r\n", b""])
async def test_a_huge_head(hub: Hub, size: int, ending: bytes) -> None:
    async with Raw(hub.gateway.port) as raw:
        assert (await raw.ask("GET", "/healthz")).status == 200
        await raw.send(b"GET /healthz HTTP/1.1\r\nx: " + b"x" * size + ending)
        refused("", await raw.read(), 431, "expected a request head of at most 65536 bytes")
        await raw.closed()


async def test_a_large_body_in_the_same_piece_as_its_head_is_no_huge_head(hub: Hub) -> None:
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask("POST", PREDICT, b'{"features":[%b1]}' % (b"1," * 100_000))
    assert answer.status == 200


@pytest.mark.parametrize(
    "rubbish",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"CONNECT hub:3000 HTTP/1.1\r\n\r\n",
        b"CONNECT /predict HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: hub\r\ncontent-length: " + b"0" * 5000 + b"\r\n\r\n",
        b"POST /predict HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /predict HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST /predict HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"POST /predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)  # fmt: skip
async def test_what_is_no_http(hub: Hub, rubbish: bytes) -> None:
    async with Raw(hub.gateway.port) as raw:
        await raw.send(rubbish)
        refused("", await raw.read(), 400, "expected an HTTP/1.1 request, got something that is none")
        assert await raw.closed() == b""


async def test_rubbish_behind_a_request_that_runs_is_not_answered_in_its_place(hub: Hub) -> None:
    body = b'{"features":[1]}'
    async with Raw(hub.gateway.port) as raw:
        await raw.send(request("POST", PREDICT, body) + b"rubbish\r\n\r\n")
        assert b"400" not in (await raw.closed()).split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", PREDICT, "POST"),
        ("PUT", INFER, "POST"),
        ("DELETE", "/v2/models", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("OPTIONS", PREDICT, "POST"),
    ],
)  # fmt: skip
async def test_methods_that_a_path_does_not_take(hub: Hub, method: str, path: str, allow: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask(method, path)
    refused(path, answer, 405, f"'{path}' does not take {method}, expected {allow}")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "path", ["/v1", "/predict/", "/v2/models/quick/summarize", "//predict", "/%2e%2e/x", "/a%0ab"]
)
async def test_paths_that_are_none(hub: Hub, path: str) -> None:
    async with Raw(hub.gateway.port) as raw:
        refused(path, await raw.ask("GET", path), 404, "there is nothing at '/", "expected one of the paths")
        refused(path, await raw.ask("POST", path, b"{}"), 404, "there is nothing at '/")


async def test_after_all_this_good_requests_get_their_answers(hub: Hub) -> None:
    await answers_well(hub)
