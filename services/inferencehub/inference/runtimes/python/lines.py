"""What the process of a Python model logs and prints, read from a pipe and logged with its model's name.

Per second, a process may have `LINES` lines; further ones are dropped, and a line says how many. Beyond `BYTES` it is
not read, so that it waits until the second is over. So a model that logs without end costs the service little, and
itself much.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import msgspec

from inferencehub.core.process.line_writer import PLAIN
from inferencehub.inference.runtimes.python.channel import Load

logger = logging.getLogger("model")
LINES, BYTES, SECOND = 1000, 2 << 20, 1.0
READ = 1 << 13  # bytes in one turn of the event loop
LONGEST, LONGEST_RAW = 1 << 20, 16_000  # bytes of a line; a longer one is several
OURS = PLAIN | {"time", "level", "tier", "logger", "event"}  # of a line of the log


class Line(msgspec.Struct):
    """A line as `python_worker/lines.py` writes it: see there."""

    time: float
    level: int
    source: str
    event: str
    about: dict[str, str]
    fields: dict[str, Any]
    traceback: str


decode = msgspec.json.Decoder(Line).decode


class ModelLines:
    """The pipe of one process.

    Args:
        load: says what the process runs.
    """

    def __init__(self, load: Load) -> None:
        self.about: dict[str, Any] = {"model": load.model, "version": load.version}
        self._loop = asyncio.get_running_loop()
        self._ours, self.theirs = os.pipe()  # `theirs` is the process's
        os.set_blocking(self._ours, False)
        self._rest = b""
        self._lines = self._bytes = self._dropped = 0  # of this second
        self._over: asyncio.TimerHandle | None = None  # its end
        self._closed = False

    def begin(self, pid: int) -> None:
        """Read what the process writes; it has inherited `theirs`."""
        self.about["pid"] = pid
        self._loop.add_reader(self._ours, self._read)

    def started(self) -> None:
        """The process has `theirs`, or will never be."""
        os.close(self.theirs)

    def close(self) -> None:
        """The process has ended: log what it has left, and read no more."""
        while not self._closed and self._bytes < BYTES and self._read():
            pass
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._ours)
        os.close(self._ours)
        self._take(b"\n")
        if self._over is not None:
            self._over.cancel()
            self._next_second()

    def _read(self) -> bool:
        """Read once; False if there is nothing."""
        try:
            data = os.read(self._ours, READ)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._ours)
            return False
        if self._over is None:
            self._over = self._loop.call_later(SECOND, self._next_second)
        self._bytes += len(data)
        if self._bytes >= BYTES:
            self._loop.remove_reader(self._ours)
        self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > (LONGEST if self._rest[:1] == b"\x1e" else LONGEST_RAW):
            lines.append(self._rest)
            self._rest = b""
        for line in filter(None, lines):
            if self._lines < LINES:
                self._lines += 1
                self._log(line)
            else:
                self._dropped += 1

    def _next_second(self) -> None:
        self._over = None
        if self._dropped:
            logger.warning("log lines were dropped", extra={**self.about, "lines": self._dropped})
        if self._bytes >= BYTES and not self._closed:
            self._loop.add_reader(self._ours, self._read)
        self._lines = self._bytes = self._dropped = 0

    def _log(self, data: bytes) -> None:
        line = line_of(data)
        if not logger.isEnabledFor(line.level):
            return
        extra = {name: value for name, value in line.fields.items() if name not in OURS}
        extra |= {**self.about, "source": line.source, **line.about}
        if line.traceback:
            extra["traceback"] = line.traceback
        record = logger.makeRecord("model", line.level, "", 0, line.event, (), None, extra=extra)
        record.created = line.time or record.created
        logger.handle(record)


def line_of(data: bytes) -> Line:
    """A line of a process; what is no line of ours is the text of one, as native code writes it."""
    if data.startswith(b"\x1e"):
        try:
            return decode(data[1:])
        except msgspec.MsgspecError:
            pass
    text = data.decode(errors="replace").strip("\r")
    return Line(0.0, logging.WARNING, "stderr", text, {}, {}, "")
