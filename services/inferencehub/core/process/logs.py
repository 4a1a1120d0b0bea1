"""Logs: one line an event, as JSON for machines or as text for people.

Everything goes through `logging` but the access line. There is one of those for every request, so it is encoded by
msgspec and written in bunches; the rest is rare and takes the ordinary way.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec

PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
FLUSH_S = 0.2
FLUSH_LINES = 500


def set_up_logs(tier: str, style: str, level: str) -> None:
    """Send all logging to stderr.

    Args:
        tier: the name that each line carries.
        style: "json" or "human".
        level: the least level.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json(tier) if style == "json" else Human(tier))
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def extra_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a log call gave as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in PLAIN}


class Json(logging.Formatter):
    """A line of JSON: time, level, tier, event, what the call gave as `extra`, and a traceback if there is one."""

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
        return msgspec.json.encode(line, enc_hook=str).decode()


class Human(logging.Formatter):
    """A line for a terminal."""

    def __init__(self, tier: str) -> None:
        super().__init__()
        self.tier = tier

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        extra = " ".join(f"{name}={on_one_line(value)}" for name, value in extra_of(record).items())
        line = f"{clock} {self.tier:9} {record.levelname.lower():7} {record.getMessage()} {extra}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def on_one_line(value: object) -> str:
    """A value as text without line ends and other signs that a terminal obeys: callers choose paths and names."""
    text = str(value)
    return text if text.isprintable() else ascii(text)


class AccessLog:
    """Access lines, one a request, written to `stream` at most `FLUSH_S` seconds later.

    Args:
        tier: the name that each line carries.
        style: "json" or "human".
        stream: where they go; standard output if not given.
    """

    def __init__(self, tier: str, style: str, stream: BinaryIO | None = None) -> None:
        self.tier = tier
        self.human = style == "human"
        self.stream = stream or sys.stdout.buffer
        self._encode = msgspec.json.Encoder().encode_lines
        self.lines: list[msgspec.Struct | dict[str, Any]] = []
        self.timer: asyncio.TimerHandle | None = None

    def write(self, **fields: str | int | float) -> None:
        """Write one line: the time, the tier, and `fields` in their order."""
        self.add({"time": now(), "tier": self.tier, **fields})

    def add(self, line: msgspec.Struct | dict[str, Any]) -> None:
        """The same of a struct, which is made and written in less time; its first fields are `time` and `tier`."""
        self.lines.append(line)
        if len(self.lines) >= FLUSH_LINES:
            self.flush()
        elif self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what has gathered."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        lines, self.lines = self.lines, []
        if lines:
            self.stream.write(self._for_people(lines) if self.human else self._encode(lines))
            self.stream.flush()

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
    """The time of a line, in whole milliseconds."""
    return int(time.time() * 1e3) / 1e3
