"""Files of recorded calls, read in the order in which the calls began.

A line is written when its call ends, so lines are not in that order. The files are read twice: once for the times, and once
call by call, so that they may be larger than the memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from inferencehub.core.http1.recording.line import RecordedCall, read_call


class BadRecording(Exception):
    """A file is no recording. The text names the file and the line."""


class Began(msgspec.Struct):
    """What the order of calls needs of a line."""

    time: float


class Recording:
    """The calls of some files.

    Args:
        files: the files, or folders that have some.
        most: how many calls are used, those that began first.

    Raises:
        BadRecording: if a file can't be read, a line is no recorded call, or there is none at all.
    """

    def __init__(self, files: Sequence[Path], most: int | None) -> None:
        self._files = list(files_of(files))
        self._at: list[array[int]] = []  # where each line of a file begins
        read = msgspec.json.Decoder(Began).decode
        found: list[tuple[float, int, int]] = []  # time, file and line, both from 0
        for number, file in enumerate(self._files):
            starts = array("q", [0])
            try:
                with file.open("rb") as lines:
                    for place, line in enumerate(lines):
                        starts.append(starts[-1] + len(line))
                        if line.endswith(b"\n"):  # else it is being written, or its gateway was killed
                            found.append((read(line).time, number, place))
            except OSError as error:
                raise BadRecording(f"{file}: {error.strerror}") from None
            except ValueError as error:
                raise BadRecording(f"{file}, line {len(starts) - 1}: {error}") from None
            self._at.append(starts)
        if not found:
            raise BadRecording(f"there is no recorded call in {', '.join(map(str, self._files))}")
        found.sort()
        self._order = found[:most]

    def __len__(self) -> int:
        return len(self._order)

    @property
    def seconds(self) -> float:
        """From the begin of the first call to that of the last."""
        return self._order[-1][0] - self._order[0][0]

    def calls(self) -> Iterator[tuple[str, RecordedCall]]:
        """Each call, with where it stands.

        Raises:
            BadRecording: if a line is no recorded call.
        """
        handles = [file.open("rb") for file in self._files]
        try:
            for _, number, place in self._order:
                where = f"{self._files[number].name}, line {place + 1}"
                handles[number].seek(self._at[number][place])
                try:
                    yield where, read_call(handles[number].readline())
                except ValueError as error:
                    raise BadRecording(f"{where}: {error}") from None
        finally:
            for handle in handles:
                handle.close()


def files_of(paths: Sequence[Path]) -> Iterator[Path]:
    """The files, and those with recordings in the folders."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.jsonl"))
        else:
            yield path
