"""Private copies of model versions: what was loaded stays as it was, whatever happens to the repository.

A process of a Python model that takes the place of one that crashed loads the files that its siblings have loaded, and a
library that maps a file into memory does not see it change. A copy is removed when the version is closed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import IO

from inferencehub.inference.models.repository import Found, is_version

PREFIX = "inferencehub-models-"
LOCK = "lock"  # held as long as the process lives: the next one knows then which copies nobody uses
ENVIRONMENT = "pyvenv.cfg"  # what a virtual environment has, of which a copy would not work


class Copies:
    """The copies of one process, in a directory of their own below that of temporary files (TMPDIR).

    Raises:
        OSError: if there is no place for them.
    """

    def __init__(self) -> None:
        remove_left_over(Path(tempfile.gettempdir()))
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = locked(self.root)
        self._numbers = count(1)

    def of(self, found: Found) -> Found:
        """The same model version, with its files copied: those of the version, and those that its versions share.

        A model file outside of the model's directory stays where it is.

        Raises:
            OSError: if they cannot be copied. Nothing is left then.
        """
        source = found.source
        if source is None:
            return found
        model = source.directory.parent
        copied = self.root / str(next(self._numbers)) / found.name
        try:
            copied.mkdir(parents=True)
            for part in [one for one in model.iterdir() if is_copied(one, found.version)]:
                copy(part, copied / part.name)
        except OSError:
            shutil.rmtree(copied.parent, ignore_errors=True)
            raise
        directory = copied / found.version
        path = Path(os.path.relpath(source.file, model))
        file = source.file if path.parts[0] == os.pardir else copied / path
        return replace(found, source=replace(source, directory=directory, file=file, original=model))

    def written(self, name: str, files: Mapping[str, bytes]) -> Path:
        """A directory with these files, by their paths in it, for a model of this name. `remove` removes it.

        Raises:
            OSError: if they cannot be written. Nothing is left then.
        """
        directory = self.root / str(next(self._numbers)) / name
        try:
            for path, content in files.items():
                (directory / path).parent.mkdir(parents=True, exist_ok=True)
                (directory / path).write_bytes(content)
        except OSError:
            self.remove(directory)
            raise
        return directory

    def remove(self, directory: Path) -> None:
        """Remove what `written` has made."""
        shutil.rmtree(directory.parent, ignore_errors=True)

    def drop(self, found: Found) -> None:
        """Remove the copy of a version that is closed."""
        if found.source is not None and found.source.directory.is_relative_to(self.root):
            shutil.rmtree(found.source.directory.parents[1], ignore_errors=True)

    def close(self) -> None:
        """Remove all copies."""
        shutil.rmtree(self.root, ignore_errors=True)
        self._lock.close()


def is_copied(part: Path, version: str) -> bool:
    """Whether an entry of a model's directory belongs to this version or to all of them."""
    return part.name == version or not (is_version(part.name) and part.is_dir())


def copy(source: Path, target: Path) -> None:
    """Copy a file or a directory; links become what they point at.

    Not copied are compiled files, what the links of a ConfigMap point at, and virtual environments.
    """
    left_out = source.name == "__pycache__" or source.name.startswith("..")
    if not source.is_dir():
        shutil.copy(source, target)
    elif not left_out and not (source / ENVIRONMENT).exists():
        target.mkdir()
        for part in source.iterdir():
            copy(part, target / part.name)


def locked(root: Path) -> IO[bytes]:
    """The lock of a directory of copies, held until it is closed. It has its name once it is held."""
    made = root / f".{LOCK}"
    lock = made.open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    made.rename(root / LOCK)
    return lock


def remove_left_over(directory: Path) -> None:
    """Remove the copies of processes that were killed: a container that starts again finds its old files."""
    for root in directory.glob(f"{PREFIX}*"):
        with suppress(OSError):
            with (root / LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(root)
