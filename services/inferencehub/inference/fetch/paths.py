"""Where the names of an archive or a bucket go: each is a path below a directory, and no two of them are the same one."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from inferencehub.inference.fetch.rules import FetchError

Parts = tuple[str, ...]
DEEPEST = 64  # parts of a name; what is kept of one grows with their square
MOST_DIRECTORIES = 100_000


class Paths:
    """The paths that are taken.

    Args:
        into: the directory.
        where: what has the names, for sentences.
    """

    def __init__(self, into: Path, where: str) -> None:
        self._into = into
        self._where = where
        self._files: dict[Parts, str] = {}  # the names that they have come as
        self._directories: dict[Parts, str] = {}  # the first names that need them

    def file(self, name: str) -> Path:
        """Where a file goes.

        Raises:
            FetchError: if that is outside of the directory, or taken.
        """
        parts = self._parts(name)
        if (other := self._files.get(parts)) is not None:
            which = f"'{other}' and '{name}', which are the same path" if other != name else f"'{name}' twice"
            raise FetchError(f"{self._where} has {which}")
        if (other := self._directories.get(parts)) is not None:
            raise self._both(name, other)
        self._need(parts[:-1], name)
        self._files[parts] = name
        return self._into.joinpath(*parts)

    def directory(self, name: str) -> Path:
        """Where a directory goes, which may come again.

        Raises:
            FetchError: as `file`.
        """
        parts = self._parts(name)
        self._need(parts, name)
        return self._into.joinpath(*parts)

    def _need(self, parts: Parts, name: str) -> None:
        """Note the directories that a name needs."""
        for length in range(1, len(parts) + 1):
            directory = parts[:length]
            if (file := self._files.get(directory)) is not None:
                raise self._both(file, name)
            self._directories.setdefault(directory, name)
        if len(self._directories) > MOST_DIRECTORIES:
            raise FetchError(f"{self._where} has more than {MOST_DIRECTORIES} directories")

    def _both(self, file: str, other: str) -> FetchError:
        return FetchError(
            f"{self._where} has '{file}' as a file, and '{other}', which needs it as a directory"
        )

    def _parts(self, name: str) -> Parts:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or "\0" in name:
            raise FetchError(f"'{name}' is no path inside a model repository")
        if len(path.parts) > DEEPEST:
            raise FetchError(
                f"{self._where} has a name of {len(path.parts)} parts, '{name[:80]}…', expected at most {DEEPEST}"
            )
        return path.parts
