"""The files of recorded calls: one is written, the oldest go when all of them would be too large together.

A file belongs to its owner alone, since it has what callers sent. Nothing here is called by the event loop.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

FILES = "calls-*.jsonl"
PARTS = 4  # a file has at most this part of the bytes that all may have


class Folder:
    """See the module's text.

    Args:
        path: the folder, which is made if it is not there.
        most_bytes: of all files together; files that an earlier process has left count too.

    Raises:
        OSError: if no file can be made there.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path = path
        self._most = most_bytes
        self.most_line = most_bytes // PARTS
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._old: deque[tuple[Path, int]] = deque()
        for file in sorted(path.glob(FILES)):
            size = file.stat().st_size
            if size:
                self._old.append((file, size))
            else:  # of a process that was killed before it had recorded anything; no bound of bytes counts such files
                file.unlink(missing_ok=True)
        self._file, self._name, self._size = -1, path, 0
        self._open()

    def write(self, lines: bytes) -> None:
        """Add complete lines, of at most `most_line` bytes together. If that fails, none of them is in the file.

        Raises:
            OSError: if the disk is full, or the folder can't be used any more.
        """
        if self._file >= 0 and (self._size + len(lines) > self.most_line or self._is_gone()):
            self._end()
        if self._file < 0:
            self._open()
        self._make_room(len(lines))
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(lines)

    def close(self) -> None:
        """Write no more. A file without a line is taken away."""
        if self._file < 0:
            return
        if not self._size:
            self._name.unlink(missing_ok=True)
        self._end()

    def _open(self) -> None:
        """Begin a file. Its name has the time, so that the order of names is that of the files."""
        self._name = self._path / f"calls-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file, self._size = os.open(self._name, flags, 0o600), 0

    def _end(self) -> None:
        os.close(self._file)
        self._file = -1
        if self._name.exists():
            self._old.append((self._name, self._size))

    def _is_gone(self) -> bool:
        """Whether somebody has taken the file away; what is written to it then is lost."""
        return not os.fstat(self._file).st_nlink

    def _make_room(self, size: int) -> None:
        while self._old and sum(old for _, old in self._old) + self._size + size > self._most:
            self._old.popleft()[0].unlink(missing_ok=True)
