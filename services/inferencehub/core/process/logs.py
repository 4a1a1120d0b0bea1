"""Logs: one line for each event, as JSON for machines or as text for people.

Everything except access lines goes through `logging`. There is one access line for every request, so msgspec encodes
them, and they are written in groups. Separate threads write both. If nothing reads standard output or standard error,
lines are lost, but no request is delayed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from io import FileIO
from typing import Any

import msgspec

from inferencehub.core import audit
from inferencehub.core.process.line_writer import MOST_BYTES, LineWriter, RawStream, extra_of

FLUSH_S = 0.2
FLUSH_LINES = 500
END_S = 1.0  # how long a process waits at its end until all lines are written


def set_up_logs(tier: str, style: str, level: str) -> None:
    """Send all logging to stderr.

    Args:
        tier: the tier's name, which is part of each line.
        style: "json" or "human".
        level: the lowest level that is logged.
    """
    handler = Lines(LineWriter(FileIO(2, "wb", closefd=False)))
    handler.setFormatter(Json(tier) if style == "json" else Human(tier))
    # At its info level, uvicorn would log for each port that it runs and how to stop it.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    audit.logger.setLevel(logging.INFO)  # whatever else is not logged
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class Lines(logging.Handler):
    """Gives log records to a `LineWriter`. If records were dropped, it logs their number when there is room again."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self.writer = writer
        self._dropped_before = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; `logging` calls this from one thread at a time."""
        if not self._put(record):
            return
        lost = self.writer.dropped - self._dropped_before
        if lost:
            text = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
            if self._put(logging.makeLogRecord({**text, "msg": "log lines were dropped", "lines": lost})):
                self._dropped_before += lost
            else:
                self._dropped_before += 1  # this line itself, which is none of those that were lost

    def _put(self, record: logging.LogRecord) -> bool:
        try:
            text = self.format(record)
        except Exception as error:  # a bad log call must not end the work that makes it
            fields = {"name": record.name, "levelno": record.levelno, "levelname": record.levelname}
            what = {"msg": "a log line could not be written", "of": ascii(record.msg), "error": ascii(error)}
            text = self.format(logging.makeLogRecord({**fields, **what}))
        return self.writer.put(f"{text}\n".encode(errors="replace"))

    def flush(self) -> None:
        """Wait at most `END_S` until all lines are written; `logging.shutdown` calls this."""
        self.writer.wait(END_S)


class Json(logging.Formatter):
    """A line of JSON: time, level, tier, logger, event, the call's `extra` fields, and a traceback if there is one."""

    def __init__(self, tier: str) -> None:
        super().__init__()
        self.tier = tier

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "tier": self.tier,
            "logger": record.name,
            "event": record.getMessage(),
            **extra_of(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except UnicodeEncodeError:  # a name that is not UTF-8, such as that of a file
            sound = {
                name: str(value).encode(errors="backslashreplace").decode() for name, value in line.items()
            }
            return msgspec.json.encode(sound).decode()


class Human(logging.Formatter):
    """A line for a terminal; a traceback has lines of its own below it."""

    def __init__(self, tier: str) -> None:
        super().__init__()
        self.tier = tier

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = extra_of(record)
        trace = str(fields.pop("traceback", "")).expandtabs().splitlines()  # that of a model
        extra = " ".join(f"{name}={on_one_line(value)}" for name, value in fields.items())
        line = f"{clock} {self.tier:9} {record.levelname.lower():7} {record.getMessage()} {extra}".rstrip()
        line = "\n".join([line, *(f"  {on_one_line(one)}" for one in trace)])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def on_one_line(value: object) -> str:
    """A value as text, with line ends and control characters escaped: callers can choose paths and names."""
    text = str(value)
    return text if text.isprintable() else ascii(text)


class AccessLog:
    """The access log: one line for each request, written to `stream` at most `FLUSH_S` seconds later.

    Args:
        tier: the tier's name, which is part of each line.
        style: "json" or "human".
        stream: the stream to write to; standard output if not given.
        most_bytes: how many bytes of lines may wait for `stream`; further lines are dropped and counted.
    """

    def __init__(
        self, tier: str, style: str, stream: RawStream | None = None, most_bytes: int = MOST_BYTES
    ) -> None:
        self.tier = tier
        self.human = style == "human"
        self.writer = LineWriter(stream or FileIO(1, "wb", closefd=False), most_bytes)
        self._encode = msgspec.json.Encoder().encode_lines
        self.lines: list[msgspec.Struct | dict[str, Any]] = []
        self.timer: asyncio.TimerHandle | None = None

    def write(self, **fields: str | int | float) -> None:
        """Add a line: the time, the tier, and `fields` in their order."""
        self.add({"time": now(), "tier": self.tier, **fields})

    def add(self, line: msgspec.Struct | dict[str, Any]) -> None:
        """Add a line whose first fields are `time` and `tier`. A struct is faster than a dict."""
        self.lines.append(line)
        if len(self.lines) >= FLUSH_LINES:
            self.flush()
        elif self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Give the collected lines to the thread that writes them."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        lines, self.lines = self.lines, []
        if lines:
            self.writer.put(self._for_people(lines) if self.human else self._encode(lines))

    async def close(self) -> None:
        """Write all remaining lines; wait for that at most `END_S`."""
        self.flush()
        await asyncio.to_thread(self.writer.wait, END_S)

    def _for_people(self, lines: list[msgspec.Struct | dict[str, Any]]) -> bytes:
        text = ""
        for line in lines:
            fields = dict(line) if isinstance(line, dict) else msgspec.structs.asdict(line)
            clock = time.strftime("%H:%M:%S", time.localtime(fields.pop("time")))
            shown = " ".join(
                [f"{name}={on_one_line(value)}" for name, value in fields.items() if name != "tier"]
            )
            text += f"{clock} {self.tier:9} access  {shown}\n"
        return text.encode(errors="replace")


def now() -> float:
    """The present time for a line: seconds since 1970, cut to whole milliseconds."""
    return int(time.time() * 1e3) / 1e3
