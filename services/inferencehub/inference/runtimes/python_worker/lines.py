"""What a model logs and prints, as lines that say whose call it was.

A line is a text of RFC 7464: the byte RS, an object of JSON, a line end. It goes to standard error, which is a pipe to
the service; `python/lines.py` reads it. What native code and child processes write there comes as it is. If the pipe is
full, the model waits: one that logs without end takes its own time.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from contextvars import ContextVar
from typing import Any

from inferencehub.core.process.line_writer import extra_of
from inferencehub.core.values.requests import NO_CALLERS, Callers
from inferencehub.inference.runtimes.python.failures import known

STDERR = 2
LONGEST = 16_000  # characters of a line, and of a traceback; a longer line is several
running: ContextVar[Callers] = ContextVar("running")  # whose call a task is, if several are in flight
FIELDS, FIELD = 32, 2000  # the most fields of `extra`, and characters of each


class Lines(logging.Handler):
    """Writes lines; also the handler of all logging in the process."""

    def __init__(self) -> None:
        super().__init__()
        self.callers = NO_CALLERS  # of the call that runs, if only one may
        self._printed = (Printed(self, "stdout", logging.INFO), Printed(self, "stderr", logging.WARNING))

    def install(self, level: int) -> None:
        """Take all that the process logs at this level or above, and all that it prints."""
        sys.stdout, sys.stderr = self._printed
        logging.basicConfig(level=level, handlers=[self], force=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            fields = {name: plain(value) for name, value in list(extra_of(record).items())[:FIELDS]}
            trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
            self.put(record.levelno, record.name, record.getMessage(), fields, trace[-LONGEST:])
        except Exception:
            self.handleError(record)  # as logging does: the model goes on

    def put(
        self, level: int, source: str, event: str, fields: dict[str, Any] | None = None, trace: str = ""
    ) -> None:
        """Write an event, cut into lines of `LONGEST` characters.

        Args:
            level: of the module `logging`.
            source: the name of the logger, or "stdout" or "stderr".
            event: the text.
            fields: what a log call gave as `extra`.
            trace: a traceback.
        """
        about = {
            "time": time.time(),
            "level": level,
            "source": source,
            "about": known(running.get(self.callers)),
        }
        for start in range(0, max(1, len(event)), LONGEST):
            line = {
                **about,
                "event": event[start : start + LONGEST],
                "fields": fields or {},
                "traceback": trace,
            }
            data = memoryview(f"\x1e{json.dumps(line)}\n".encode())
            self.acquire()
            try:
                while data:
                    data = data[os.write(STDERR, data) :]
            except OSError:  # the service has gone
                return
            finally:
                self.release()

    def flush(self) -> None:
        """Write what was printed without a line end."""
        for printed in self._printed:
            printed.end()


class Printed(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a model: each line becomes an event.

    Args:
        lines: takes the events.
        source: the stream's name.
        level: the level of the events.
    """

    def __init__(self, lines: Lines, source: str, level: int) -> None:
        super().__init__()
        self._lines, self._source, self._level = lines, source, level
        self._begun = ""
        self.buffer = io.FileIO(STDERR, "wb", closefd=False)  # for bytes, which come as they are

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return STDERR

    def write(self, text: str) -> int:
        self._lines.acquire()
        try:
            *whole, self._begun = (self._begun + text).split("\n")
        finally:
            self._lines.release()
        for line in filter(None, whole):
            self._lines.put(self._level, self._source, line)
        if len(self._begun) >= LONGEST:
            self.end()
        return len(text)

    def end(self) -> None:
        """Take what has no line end yet as a line."""
        line, self._begun = self._begun, ""
        if line:
            self._lines.put(self._level, self._source, line)


def plain(value: Any) -> bool | int | float | str | None:
    """A field of `extra`: numbers as they are, everything else as a text of at most `FIELD` characters."""
    return value if value is None or isinstance(value, bool | int | float) else str(value)[:FIELD]
