"""Names that would be one path, or a file and a directory, are refused with both names, and none of them is written."""

from __future__ import annotations

import io
import resource
import tarfile
import zipfile
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from inferencehub.inference.fetch.archive import unpack
from inferencehub.inference.fetch.paths import Paths
from inferencehub.inference.fetch.rules import Budget, FetchError
from tests.inference.fetch.fetching import run_fetch
from tests.inference.fetch.model_server import running_server

SAME = "the archive has '{}' and '{}', which are the same path"
BOTH = "the archive has '{}' as a file, and '{}', which needs it as a directory"


def put(paths: Paths, name: str) -> Path:
    """Where a name goes: a directory, if it ends as one."""
    return paths.directory(name) if name.endswith("/") else paths.file(name)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a/b", "a//b"], SAME.format("a/b", "a//b")),
        (["./a/b", "a/./b"], SAME.format("./a/b", "a/./b")),
        (["a/b", "c", "a/b"], "the archive has 'a/b' twice"),
        (["a", "a/b/c"], BOTH.format("a", "a/b/c")),
        (["a/b/c", "a/x", "a"], BOTH.format("a", "a/b/c")),
        (["a//b", "a/b/"], BOTH.format("a//b", "a/b/")),
        (["a/", "a"], BOTH.format("a", "a/")),
        (["a/b/", "./a"], BOTH.format("./a", "a/b/")),
    ],
)
def test_what_cannot_stand_side_by_side_is_refused(names: list[str], sentence: str, tmp_path: Path) -> None:
    paths = Paths(tmp_path, "the archive")
    for name in names[:-1]:
        put(paths, name)
    with pytest.raises(FetchError) as refused:
        put(paths, names[-1])
    assert str(refused.value) == sentence


def test_all_else_goes_where_it_says(tmp_path: Path) -> None:
    paths, names = (
        Paths(tmp_path, "it"),
        ["a/", "a/b", "a//c", "a/", "./a/", "ab", "A/b", "d/e/f", "d/e/", "d/ "],
    )
    assert [put(paths, name).relative_to(tmp_path).as_posix() for name in names] == [
        "a", "a/b", "a/c", "a", "a", "ab", "A/b", "d/e/f", "d/e", "d/ ",
    ]  # fmt: skip


def test_a_name_of_very_many_parts_takes_no_memory(tmp_path: Path) -> None:
    """Each of them is a directory: of 30 000, their paths together would take 4 GB."""
    with zipfile.ZipFile(tmp_path / "file", "w") as packed:
        packed.writestr("a/" * 30_000 + "f", b"x")
    (tmp_path / "into").mkdir()
    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        FetchError, match=r"the archive has a name of 30001 parts, 'a/a/.*…', expected at most 64"
    ):
        unpack(tmp_path / "file", ".zip", tmp_path / "into", Budget(2**20, 60))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began < 100_000  # KB
    assert list((tmp_path / "into").iterdir()) == []


def test_very_many_directories_are_refused(tmp_path: Path) -> None:
    paths = Paths(tmp_path, "it")
    for number in range(1612):  # of 62 each
        paths.file(f"{number}/" + "a/" * 61 + "f")
    with pytest.raises(FetchError, match="it has more than 100000 directories"):
        paths.file("1612/" + "a/" * 61 + "f")


@pytest.mark.parametrize("kind", [".tar", ".zip"])
def test_an_archive_with_two_files_of_one_path_is_refused(kind: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    names = ("m/1/model", "m/1//model")
    if kind == ".zip":
        with zipfile.ZipFile(buffer, "w") as packed:
            for name in names:
                packed.writestr(name, b"x")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name))
    (tmp_path / "file").write_bytes(buffer.getvalue())
    (tmp_path / "into").mkdir()
    with pytest.raises(FetchError, match=SAME.format(*names)):
        unpack(tmp_path / "file", kind, tmp_path / "into", Budget(2**20, 60))


LISTED = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><IsTruncated>false</IsTruncated>
{}</ListBucketResult>"""


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (["p/m/1//x", "p/m/1/x"], "s3://bucket/p/ has 'm/1//x' and 'm/1/x', which are the same path"),
        (
            ["p/m/1", "p/m/1/x"],
            "s3://bucket/p/ has 'm/1' as a file, and 'm/1/x', which needs it as a directory",
        ),
    ],
)
async def test_so_is_a_bucket_before_anything_is_fetched(
    keys: list[str], sentence: str, tmp_path: Path
) -> None:
    """AWS' own service has such keys; versitygw, whose objects are files, has none."""
    found = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)

    async def listing(request: Request) -> Response:
        return Response(LISTED.format(found), media_type="application/xml")

    async with running_server(tmp_path / "none") as server:
        server.next_answers.append(listing)
        environ = {"AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        ended = await run_fetch("s3://bucket/p/", "--into", tmp_path / "v/a", **environ)
        assert (ended.code, len(server.requests)) == (1, 1), ended.log
        assert sentence in ended.log
    assert list((tmp_path / "v").iterdir()) == []
