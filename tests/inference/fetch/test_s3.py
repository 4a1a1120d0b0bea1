"""Models come from a real server of the S3 protocol: whole prefixes and single objects, with their checksums."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.inference.fetch.fetching import MODEL, files_of, run_fetch, sha256, tar
from tests.inference.fetch.s3_server import S3Server, running_s3

pytestmark = pytest.mark.tools
MORE = {**MODEL, "echo/2/a b+c&ä.txt": b"odd name", "echo/empty/": b""}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[S3Server]:
    """A server with a repository below a prefix, and with an archive of it."""
    async with running_s3(tmp_path) as running:
        objects = {f"prod/models/{name}": content for name, content in MORE.items()}
        await asyncio.to_thread(
            running.put, "bucket", {**objects, "prod/models.tgz": tar(MODEL), "other": b""}
        )
        yield running


async def test_a_wrong_checksum_of_a_prefix_then_the_right_one(server: S3Server, tmp_path: Path) -> None:
    files = {name: content for name, content in MORE.items() if not name.endswith("/")}
    uri, message = "s3://bucket/prod/models/", tmp_path / "message"
    ended = await run_fetch(
        f"{uri}#sha256={'0' * 64}", "--into", tmp_path / "v/a", "--message", message, **server.environ
    )
    assert ended.code == 1
    right = message.read_text().partition("has the sha256 ")[2][:64]
    assert (
        message.read_text()
        == f"The models cannot be fetched: {uri} has the sha256 {right}, expected {'0' * 64}."
    )
    assert list((tmp_path / "v").iterdir()) == []
    ended = await run_fetch(f"{uri}#sha256={right}", "--into", tmp_path / "v/b", **server.environ)
    assert ended.code == 0, ended.log
    assert files_of(tmp_path / "v/b") == files
    (tmp_path / "v/b/_fetched.json").unlink()
    assert (await run_fetch("--sha256-of", tmp_path / "v/b")).printed.strip() == right


async def test_a_prefix_without_a_checksum(server: S3Server, tmp_path: Path) -> None:
    ended = await run_fetch("s3://bucket/prod/models/", "--into", tmp_path / "v/a", **server.environ)
    assert ended.code == 0, ended.log
    assert (tmp_path / "v/a/echo/2/a b+c&ä.txt").read_bytes() == b"odd name"


async def test_an_archive_is_unpacked(server: S3Server, tmp_path: Path) -> None:
    uri = f"s3://bucket/prod/models.tgz#sha256={sha256(tar(MODEL))}"
    ended = await run_fetch(uri, "--into", tmp_path / "v/a", **server.environ)
    assert ended.code == 0, ended.log
    assert files_of(tmp_path / "v/a") == MODEL


async def test_an_object_with_an_odd_name_becomes_a_model(server: S3Server, tmp_path: Path) -> None:
    uri = "s3://bucket/prod/models/echo/2/a b+c&ä.txt#model=odd"
    ended = await run_fetch(uri, "--into", tmp_path / "v/a", **server.environ)
    assert ended.code == 0, ended.log
    assert files_of(tmp_path / "v/a") == {"odd/1/model.txt": b"odd name"}


@pytest.mark.parametrize(
    ("uri", "environ", "says"),
    [
        ("s3://bucket/none/", {}, "s3://bucket/none/ has no objects"),
        ("s3://none/models/", {}, "(NoSuchBucket)"),
        ("s3://bucket/none.zip", {}, "answers 404 Not Found (NoSuchKey)"),
        ("s3://bucket/prod/models/", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        (
            "s3://bucket/prod/models.tgz",
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            "(SignatureDoesNotMatch): the credentials",
        ),
    ],
)
async def test_what_is_wrong_is_said(
    server: S3Server, tmp_path: Path, uri: str, environ: dict[str, str], says: str
) -> None:
    ended = await run_fetch(uri, "--into", tmp_path / "v/a", **{**server.environ, **environ})
    assert ended.code == 1
    assert says in ended.log
    assert ".." not in ended.log
    assert "Traceback" not in ended.log
    assert "secret-of-the-tests" not in ended.log


async def test_a_prefix_that_is_too_large_is_not_begun(server: S3Server, tmp_path: Path) -> None:
    ended = await run_fetch(
        "s3://bucket/prod/models/", "--into", tmp_path / "v/a", "--size", "1Ki", **server.environ
    )
    assert ended.code == 1
    assert "may have 1024 (models.fetch.size)" in ended.log


async def test_without_credentials_it_says_which(tmp_path: Path) -> None:
    ended = await run_fetch("s3://bucket/models/", "--into", tmp_path / "v/a", HOME=str(tmp_path))
    assert ended.code == 1
    assert "there are no credentials, expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in ended.log
