"""A file comes whole over HTTP, or a sentence says why not: servers that die, are busy, lie, redirect, or are too slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from inferencehub.inference.fetch.rules import FetchError
from tests.inference.fetch.fetching import MODEL, fetched, files_of, run_fetch, sha256, tar
from tests.inference.fetch.model_server import ModelServer, breaks_off, running_server, status

ARCHIVE = tar(MODEL, "w")
HALF = len(ARCHIVE) // 2


class Place(NamedTuple):
    """A server with an archive, the URI of that, and a directory to fetch into."""

    server: ModelServer
    uri: str
    file: Path
    into: Path


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A server that runs."""
    (tmp_path / "served").mkdir()
    file = tmp_path / "served/models.tar"
    file.write_bytes(ARCHIVE)
    async with running_server(tmp_path / "served") as server:
        yield Place(
            server,
            f"{server.url}/models.tar#sha256={sha256(ARCHIVE)}",
            file,
            tmp_path / "volume/models",
        )


async def test_a_repository_comes_once(place: Place) -> None:
    assert await fetched(place.uri, place.into)
    assert files_of(place.into) == MODEL
    assert not await fetched(place.uri, place.into)
    assert len(place.server.requests) == 1
    assert [path.name for path in place.into.parent.iterdir()] == ["models"]


async def test_a_server_that_dies_in_the_middle_is_asked_for_the_rest(place: Place) -> None:
    place.server.next_answers = [breaks_off(place.file, HALF)]
    await fetched(place.uri, place.into)
    assert files_of(place.into) == MODEL
    _, second = place.server.requests
    assert second.headers["range"] == f"bytes={HALF}-"


async def test_each_byte_that_comes_gives_new_attempts(place: Place) -> None:
    place.server.next_answers = [status(503), breaks_off(place.file, HALF), status(503), status(503)]
    await fetched(place.uri, place.into, attempts=3)
    assert files_of(place.into) == MODEL


async def test_a_file_that_changes_meanwhile_comes_anew(place: Place) -> None:
    """If-Range keeps the halves of two files apart."""
    place.server.next_answers = [breaks_off(place.file, HALF, etag='"old"')]
    await fetched(place.uri, place.into)
    assert files_of(place.into) == MODEL
    assert place.server.requests[1].headers["if-range"] == '"old"'


async def test_without_a_validator_it_comes_anew(place: Place) -> None:
    place.server.next_answers = [breaks_off(place.file, HALF, etag='W/"weak"')]
    await fetched(place.uri, place.into)
    assert files_of(place.into) == MODEL
    assert "range" not in place.server.requests[1].headers


async def test_a_body_that_is_always_cut_is_never_taken(place: Place) -> None:
    place.server.next_answers = [breaks_off(place.file, 0)] * 3
    with pytest.raises(
        FetchError, match=r"models.tar (ended after|cannot be reached or broke off).*3 times in a row"
    ):
        await fetched(place.uri, place.into)
    assert list(place.into.parent.iterdir()) == []


async def test_a_busy_server_is_asked_again(place: Place) -> None:
    place.server.next_answers = [status(503), status(429, retry_after="1")]
    await fetched(place.uri, place.into)
    assert files_of(place.into) == MODEL


async def test_a_server_that_stays_busy_is_named(place: Place) -> None:
    place.server.next_answers = [status(503)] * 3
    with pytest.raises(FetchError, match=r"/models.tar answers 503 Service Unavailable, 3 times in a row"):
        await fetched(place.uri, place.into)
    assert len(place.server.requests) == 3


@pytest.mark.parametrize(
    ("code", "says"), [(404, "404 Not Found"), (403, r"403 Forbidden: the credentials .*secretName")]
)
async def test_what_no_further_attempt_changes_is_said_at_once(place: Place, code: int, says: str) -> None:
    place.server.next_answers = [status(code)]
    with pytest.raises(FetchError, match=says):
        await fetched(place.uri, place.into)
    assert len(place.server.requests) == 1


async def test_nobody_there_is_said(place: Place) -> None:
    with pytest.raises(
        FetchError, match=r"127.0.0.1:1/models.tar cannot be reached .*refused, 2 times in a row"
    ):
        await fetched(f"http://127.0.0.1:1/models.tar#sha256={'0' * 64}", place.into, attempts=2)


async def test_the_wrong_checksum_leaves_nothing_and_the_right_one_works(place: Place) -> None:
    wrong = "f" * 64
    with pytest.raises(FetchError, match=f"has the sha256 {sha256(ARCHIVE)}, expected {wrong}"):
        await fetched(f"{place.server.url}/models.tar#sha256={wrong}", place.into)
    assert list(place.into.parent.iterdir()) == []
    assert await fetched(place.uri, place.into)
    assert files_of(place.into) == MODEL


async def test_a_redirect_is_followed_and_takes_no_credentials_to_others(
    place: Place, tmp_path: Path
) -> None:
    async with running_server(tmp_path / "served") as other:
        place.server.next_answers = [status(302, location=f"{place.server.url}/here/models.tar"),
                                     status(307, location=f"{other.url}/models.tar")]  # fmt: skip
        await fetched(place.uri, place.into, headers={"Authorization": "Bearer secret"})
        asked = [*place.server.requests, *other.requests]
    assert [request.headers.get("authorization") for request in asked] == [
        "Bearer secret",
        "Bearer secret",
        None,
    ]
    assert files_of(place.into) == MODEL


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/models.tar", "https://[bad/models.tar"]
)
async def test_a_redirect_to_something_else_is_refused(place: Place, target: str) -> None:
    place.server.next_answers = [status(302, location=target)]
    with pytest.raises(FetchError, match=r"redirects to (.*, expected https|what is no URL)|302"):
        await fetched(place.uri, place.into)


async def test_redirects_in_a_circle_end(place: Place) -> None:
    place.server.next_answers = [status(302, location="/models.tar")] * 20
    with pytest.raises(FetchError, match="302"):
        await fetched(place.uri, place.into)
    assert len(place.server.requests) < 10


async def test_what_is_too_large_is_not_even_begun(place: Place) -> None:
    with pytest.raises(
        FetchError, match=rf"need at least {len(ARCHIVE)} bytes .* may have 1000 \(models.fetch.size\)"
    ):
        await fetched(place.uri, place.into, most_bytes=1000)
    with pytest.raises(FetchError, match="may have"):
        await fetched(place.uri, place.into, most_bytes=len(ARCHIVE) + 1000)  # no room for what is in it
    assert list(place.into.parent.iterdir()) == []


async def test_a_server_that_says_no_size_sends_no_more_than_there_is_room_for(place: Place) -> None:
    async def large(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(200):
                yield bytes(2**16)
                await asyncio.sleep(0)

        return StreamingResponse(parts())

    place.server.next_answers = [large]
    with pytest.raises(FetchError, match="may have 1000000"):
        await fetched(place.uri, place.into, most_bytes=1_000_000)


async def test_silence_and_slowness_end(place: Place) -> None:
    async def silent(request: Request) -> Response:
        await asyncio.sleep(5)
        return Response()

    place.server.next_answers = [silent] * 100
    with pytest.raises(FetchError, match="timed out"):
        await fetched(place.uri, place.into, stall_s=0.2, attempts=2)
    with pytest.raises(FetchError, match=r"longer than 0.3 s \(models.fetch.timeoutSeconds\)"):
        await fetched(place.uri, place.into, stall_s=0.2, attempts=100, seconds=0.3)


async def test_a_server_that_sends_byte_after_byte_ends_too(place: Place) -> None:
    async def slow(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x"
                await asyncio.sleep(0.05)

        return StreamingResponse(parts(), headers={"content-length": str(len(ARCHIVE))})

    place.server.next_answers = [slow]
    with pytest.raises(FetchError, match=r"longer than 0.3 s .*; [1-9] bytes were there"):
        await fetched(place.uri, place.into, seconds=0.3)


async def test_another_part_than_the_one_that_was_asked_for_is_not_taken(place: Place) -> None:
    async def other(request: Request) -> Response:
        span = f"bytes 100-{len(ARCHIVE) - 1}/{len(ARCHIVE)}"
        return Response(ARCHIVE[100:], 206, {"content-range": span})

    place.server.next_answers = [breaks_off(place.file, HALF), other]
    await fetched(place.uri, place.into)
    assert files_of(place.into) == MODEL
    assert len(place.server.requests) == 3


async def test_of_two_pods_at_the_same_time_one_wins_and_both_are_well(place: Place) -> None:
    """They have different hosts; here one of them runs in another process."""
    both = await asyncio.gather(fetched(place.uri, place.into), run_fetch(place.uri, "--into", place.into))
    assert both[1].code == 0
    assert files_of(place.into) == MODEL
    assert [path.name for path in place.into.parent.iterdir()] == ["models"]
