"""What a run has done so far, in two files beside its output, so that a run that was stopped goes on.

    OUT.part         a line of JSON for each row, in the order of the input
    OUT.part.state   what run it is, how many rows are done, and how many bytes of OUT.part they take

The state is replaced as a whole after the lines that it counts, so what stands in OUT.part beyond it, after a kill -9 or a
power cut, is cut off and scored again. When all rows are done, OUT is written beside and renamed: it is there only whole.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from inferencehub.cli.score.tables import Row, write_table

TRIED = 1000  # rows; if all of them fail, so do the others


def line_of(row: Row) -> bytes:
    """A row as a line of JSON; what JSON has no form for, such as a date of a Parquet file, is its text."""
    return json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n"


class AllFailed(Exception):
    """All of the first rows have an error. The text says which."""


class OtherRun(Exception):
    """The files belong to another run. The text says what to do."""


class Part:
    """The rows that are done: `with Part(out, run) as part`.

    Args:
        out: the file that the run writes.
        run: what makes a run another one, such as its input and its model.

    Raises:
        OtherRun: from `with`, if OUT.part is of another run, or another process writes it.
    """

    def __init__(self, out: Path, run: Mapping[str, Any]) -> None:
        self.path = out.with_name(f"{out.name}.part")
        self.done = 0  # rows
        self.failed = 0  # of them
        self.version = ""  # of the model that scores, from the first row to the last
        self.error = "error"  # the column for what is wrong with a row
        self.columns: list[str] = []  # those that the output has also without rows
        self._out = out
        self._state = out.with_name(f"{out.name}.part.state")
        self._run = dict(run)
        self._file: BinaryIO

    def __enter__(self) -> Self:
        self._file = self.path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise OtherRun(f"another process writes {self.path}") from None
        state: dict[str, Any] = {"run": self._run, "rows": 0, "failed": 0, "bytes": 0}
        if self._state.exists():
            state = json.loads(self._state.read_text())
        if state["run"] != self._run:
            self._file.close()
            raise OtherRun(
                f"{self.path} is of a run with another input, model or columns; delete it and {self._state.name} to begin anew"
            )
        self.done, self.failed = state["rows"], state["failed"]
        self.version, self.error = state.get("version", ""), state.get("error", self.error)
        self._file.truncate(state["bytes"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is AllFailed or (kind is not None and not self.done):
            self._remove()

    def add(self, rows: Sequence[Row]) -> None:
        """Write the next rows; a row with the column `error` has failed. They count from the next `save` on.

        Raises:
            AllFailed: if none of the first rows has an answer; both files are removed then, when `with` ends.
        """
        self._file.write(b"".join(line_of(row) for row in rows))
        self.done += len(rows)
        self.failed += sum(self.error in row for row in rows)
        if self.failed == self.done >= TRIED:
            raise AllFailed(
                f"all of the first {self.done} rows have an error, such as: {rows[0][self.error]}; nothing is written "
                "(--columns chooses the columns of the input)"
            )

    def save(self) -> None:
        """Let all rows count that were added."""
        self._file.flush()
        os.fsync(self._file.fileno())
        size = os.fstat(self._file.fileno()).st_size
        state = {
            "run": self._run, "rows": self.done, "failed": self.failed, "bytes": size, "version": self.version,
            "error": self.error,
        }  # fmt: skip
        written = self._state.with_name(f"{self._state.name}.new")
        with written.open("w") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        written.replace(self._state)

    def finish(self) -> None:
        """Write the output from all rows, and remove what was kept of the run."""
        self.save()
        columns: dict[str, None] = dict.fromkeys(self.columns) | {
            name: None for row in self._rows() for name in row
        }
        whole = self.path.with_name(f"{self.path.name}{self._out.suffix}")
        write_table(whole, self._rows(), [*columns])
        whole.replace(self._out)
        self._remove()

    def _remove(self) -> None:
        self._state.unlink(missing_ok=True)
        self.path.unlink()

    def _rows(self) -> Iterator[Row]:
        with self.path.open("rb") as file:
            for line in file:
                yield json.loads(line)
