"""What is in an archive becomes plain files below one directory; anything else makes it refused."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from inferencehub.inference.fetch.archive import unpack
from inferencehub.inference.fetch.rules import Budget, FetchError
from inferencehub.inference.fetch.uri import ARCHIVES
from tests.inference.fetch.fetching import MODEL, files_of, tar

MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def unpacked(content: bytes, ending: str, directory: Path, most_bytes: int = 2**30) -> dict[str, bytes]:
    """What becomes of an archive."""
    (directory / "file").write_bytes(content)
    into = directory / "into"
    into.mkdir()
    unpack(directory / "file", ending, into, Budget(most_bytes, 60))
    return files_of(into)


def zipped(files: dict[str, bytes], mode: int = 0) -> bytes:
    """A zip whose entries have this mode of Unix."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@pytest.mark.parametrize("ending", ARCHIVES)
def test_each_kind_of_archive(ending: str, tmp_path: Path) -> None:
    content = zipped(MODEL) if ending == ".zip" else tar(MODEL, MODES[ending])
    assert unpacked(content, ending, tmp_path) == MODEL


@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_an_empty_directory_stays(ending: str, tmp_path: Path) -> None:
    """Such as the version of an ensemble, which has no file."""
    buffer = io.BytesIO()
    if ending == ".zip":
        with zipfile.ZipFile(buffer, "w") as packed:
            packed.mkdir("m/1")
            packed.writestr("m/config.pbtxt", b"")
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name in (".", "./m", "./m/1"):
                member = tarfile.TarInfo(name)
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            archive.addfile(tarfile.TarInfo("./m/config.pbtxt"))
    assert unpacked(buffer.getvalue(), ending, tmp_path) == {"m/config.pbtxt": b""}
    assert (tmp_path / "into/m/1").is_dir()


def test_modes_and_owners_of_an_archive_do_not_count(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("./m/1/run")
        member.mode, member.uid = 0o4777, 12345
        archive.addfile(member)
    unpacked(buffer.getvalue(), ".tar", tmp_path)
    there = (tmp_path / "into/m/1/run").stat()
    assert stat.S_IMODE(there.st_mode) & 0o7111 == 0
    assert there.st_uid == os.getuid()


@pytest.mark.parametrize("name", ["../out", "m/../../out", "/out", "m\\..\\out"])
@pytest.mark.parametrize("kind", [".tar", ".zip"])
def test_no_path_leads_out(kind: str, name: str, tmp_path: Path) -> None:
    content = zipped({name: b"x"}) if kind == ".zip" else tar({name: b"x"}, "w")
    with pytest.raises(FetchError, match="no path inside a model repository"):
        unpacked(content, kind, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "into"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_tar_with_anything_but_files_is_refused(kind: bytes, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("m/link")
        member.type, member.linkname = kind, "/etc"
        archive.addfile(member)
    with pytest.raises(FetchError, match="'m/link' in the archive is no file"):
        unpacked(buffer.getvalue(), ".tar", tmp_path)


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="'m/link' in the archive is no file"):
        unpacked(zipped({"m/link": b"/etc"}, stat.S_IFLNK | 0o777), ".zip", tmp_path)


def test_what_grows_too_large_stops_early(tmp_path: Path) -> None:
    bomb = zipped({"m/1/zeros": bytes(50 * 2**20)})
    assert len(bomb) < 2**20
    with pytest.raises(FetchError, match=r"may have 4194304 \(models.fetch.size\)"):
        unpacked(bomb, ".zip", tmp_path, most_bytes=4 * 2**20)
    assert (tmp_path / "into/m/1/zeros").stat().st_size <= 4 * 2**20


@pytest.mark.parametrize(
    "names",
    [
        [("m/1", tarfile.REGTYPE), ("m/1/x", tarfile.REGTYPE)],
        [("m/1/x", tarfile.REGTYPE), ("m/1", tarfile.REGTYPE)],
        [("m/1", tarfile.REGTYPE), ("m/1", tarfile.REGTYPE)],
        [("m/1", tarfile.REGTYPE), ("m/1", tarfile.DIRTYPE)],
        [("m", tarfile.REGTYPE), ("m/1", tarfile.DIRTYPE)],
    ],
)
def test_a_file_twice_is_refused(names: list[tuple[str, bytes]], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in names:
            member = tarfile.TarInfo(name)
            member.type = kind
            archive.addfile(member)
    with pytest.raises(
        FetchError, match=r"has 'm(/1)?' twice|as a file, and 'm/1(/x)?', which needs it as a directory"
    ):
        unpacked(buffer.getvalue(), ".tar", tmp_path)


@pytest.mark.parametrize("ending", ARCHIVES)
def test_what_is_no_archive_is_said(ending: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=f"it is no {ending} archive that can be read"):
        unpacked(b"<html>Not found</html>" * 100, ending, tmp_path)


def test_an_archive_with_a_wrong_byte_is_said(tmp_path: Path) -> None:
    content = bytearray(tar(MODEL, "w:bz2"))
    content[2000] ^= 255
    with pytest.raises(FetchError, match=r"it is no .tar.bz2 archive that can be read: Invalid data stream"):
        unpacked(bytes(content), ".tar.bz2", tmp_path)


def test_half_an_archive_is_none(tmp_path: Path) -> None:
    content = tar(MODEL)
    with pytest.raises(FetchError, match=r"it is no .tar.gz archive that can be read"):
        unpacked(content[: len(content) // 2], ".tar.gz", tmp_path)


def test_the_checksum_at_the_end_of_an_archive_counts(tmp_path: Path) -> None:
    content = bytearray(tar(MODEL))
    content[-8] ^= 255  # the first byte of gzip's CRC (RFC 1952, 2.3.1)
    with pytest.raises(FetchError, match=r"it is no .tar.gz archive that can be read: CRC check failed"):
        unpacked(bytes(content), ".tar.gz", tmp_path)
