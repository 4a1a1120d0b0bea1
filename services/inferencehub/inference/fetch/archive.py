"""Archives: what is in them becomes plain files and directories below a directory, and never anything else.

Nothing is taken from an archive but names and bytes: no owner, no mode, no time. A link, a device, or a path out of the
directory makes the whole archive refused. Archives are read only after their checksum was right.
"""

from __future__ import annotations

import errno
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from inferencehub.inference.fetch.paths import Paths
from inferencehub.inference.fetch.rules import Budget, FetchError

MOST_ENTRIES = 100_000
CHUNK = 2**20
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
UNREADABLE = (
    None,
    errno.EINVAL,
)  # OSError of gzip and bz2 about their data, and of a place before the beginning

# Name and bytes; None for a directory, such as the empty version of an ensemble.
Entry = tuple[str, IO[bytes] | None]


def unpack(archive: Path, ending: str, into: Path, budget: Budget) -> None:
    """Write the files of an archive.

    Args:
        archive: the file.
        ending: how its name ends, one of `uri.ARCHIVES`.
        into: a directory that exists.
        budget: what the whole fetch may take.

    Raises:
        FetchError: if it is no such archive, is refused, or has too much in it.
        OSError: if a file cannot be written.
    """
    paths = Paths(into, "the archive")
    entries = zip_entries(archive) if ending == ".zip" else tar_entries(archive, budget)
    try:
        for count, (name, source) in enumerate(entries):
            if count >= MOST_ENTRIES:
                raise FetchError(f"the archive has more than {MOST_ENTRIES} files and directories")
            if source is not None:
                write(source, paths.file(name), budget)
            elif PurePosixPath(name).parts:  # "./" is the root
                paths.directory(name).mkdir(parents=True, exist_ok=True)
    except BROKEN as error:
        raise FetchError(f"it is no {ending} archive that can be read: {error}") from None
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        raise FetchError(f"it is no {ending} archive that can be read: {error}") from None
    except RuntimeError as error:  # a zip with a password
        raise FetchError(f"the archive cannot be read: {error}") from None


def tar_entries(archive: Path, budget: Budget) -> Iterator[Entry]:
    """What is in a tar, in any of the usual compressions; then its end, where gzip and bzip2 have their checksums."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isdir():
                yield member.name, None
                continue
            source = tar.extractfile(member) if member.isreg() else None
            if source is None:
                raise not_a_file(member.name)
            with source:
                yield member.name, source
        assert tar.fileobj is not None
        while rest := tar.fileobj.read(CHUNK):
            budget.take(len(rest), "unpacking")


def zip_entries(archive: Path) -> Iterator[Entry]:
    """What is in a zip."""
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            mode = info.external_attr >> 16
            if info.is_dir():
                yield info.filename, None
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise not_a_file(info.filename)
            with packed.open(info) as source:
                yield info.filename, source


def not_a_file(name: str) -> FetchError:
    """The error for a link, a device and the like."""
    return FetchError(
        f"'{name}' in the archive is no file (a link, a device?), expected files and directories only"
    )


def write(source: IO[bytes], file: Path, budget: Budget) -> None:
    """Copy an entry to a new file.

    Raises:
        OSError: if it cannot be written, or is there already.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("xb") as target:
        while chunk := source.read(CHUNK):
            budget.take(len(chunk), "unpacking")
            target.write(chunk)
