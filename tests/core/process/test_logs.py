"""Log lines, for machines and for people."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import sys
from datetime import datetime
from time import time

import pytest

from inferencehub.core.process.line_writer import LineWriter
from inferencehub.core.process.logs import FLUSH_LINES, AccessLog, Human, Json, Lines, set_up_logs
from tests.pipe import pipe
from tests.threads import no_new_threads


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "inferencehub.part", "levelno": 30, "levelname": "WARNING", **extra}
    )
    made.msg, made.args = message, args
    return made


def failed() -> logging.LogRecord:
    """The record of `logger.exception`."""
    try:
        raise ValueError("the cause")
    except ValueError:
        return record("it failed", exc_info=sys.exc_info())


def test_a_json_line_holds_what_the_call_gave() -> None:
    text = Json("gateway").format(
        record("pod %s is out", "a:1", model="digits", seconds=0.5, error=KeyError("x"))
    )
    assert "\n" not in text
    line = json.loads(text)
    assert abs(datetime.fromisoformat(line.pop("time")).timestamp() - time()) < 60
    assert line == {
        "level": "warning",
        "tier": "gateway",
        "logger": "inferencehub.part",
        "event": "pod a:1 is out",
        "model": "digits",
        "seconds": 0.5,
        "error": "'x'",
    }


def test_a_json_line_keeps_a_traceback_on_one_line() -> None:
    text = Json("gateway").format(failed())
    assert "\n" not in text
    assert json.loads(text)["traceback"].endswith("ValueError: the cause")


def test_a_json_line_shows_a_name_that_is_not_utf_8() -> None:
    name = os.fsdecode(b"model-\xff")
    line = json.loads(Json("inference").format(record("model unavailable", model=name, number=1)))
    assert (line["model"], line["number"], line["event"]) == ("model-\\udcff", "1", "model unavailable")


class Unsaid:
    """Something whose text cannot be made."""

    def __str__(self) -> str:
        raise ValueError("it has no text")


@pytest.mark.parametrize("formatter", [Json, Human])
@pytest.mark.parametrize("bad", [("%d rows", "no number"), ("%s", Unsaid())])
async def test_a_bad_log_call_is_a_line_and_no_error(
    formatter: type[logging.Formatter], bad: tuple[str, object]
) -> None:
    stream = io.BytesIO()
    lines = Lines(LineWriter(stream))
    lines.setFormatter(formatter("gateway"))
    lines.handle(record(*bad))
    assert lines.writer.wait(20)
    assert b"a log line could not be written" in stream.getvalue()
    assert b"inferencehub.part" in stream.getvalue() or formatter is Human


def test_lines_wait_while_the_system_gives_no_thread() -> None:
    stream = io.BytesIO()
    writer = LineWriter(stream)
    with no_new_threads():
        assert writer.put(b"first\n")
    assert writer.put(b"second\n")
    assert writer.wait(20)
    assert stream.getvalue() == b"first\nsecond\n"


def test_a_human_line_can_be_read() -> None:
    text = Human("inference").format(record("model ready", model="digits", seconds=0.5))
    clock, rest = text.split(" ", 1)
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock)
    assert rest == "inference warning model ready model=digits seconds=0.5"
    assert Human("gateway").format(record("plain")).endswith("gateway   warning plain")
    assert Human("gateway").format(failed()).splitlines()[-1] == "ValueError: the cause"


def test_a_human_line_has_a_model_s_traceback_below_it() -> None:
    trace = 'Traceback:\n  File "model.py", line 2\n\tx\nKeyError: \x1b[2J\n'
    head, *below = Human("inference").format(record("model failed", model="m", traceback=trace)).split("\n")
    assert head.endswith("model failed model=m")
    assert below == ["  Traceback:", '    File "model.py", line 2', "          x", "  'KeyError: \\x1b[2J'"]


@pytest.mark.parametrize(("style", "formatter"), [("json", Json), ("human", Human)])
def test_set_up_sends_all_to_stderr_from_a_level_on(
    style: str, formatter: type[logging.Formatter], capfd: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []  # those of the test run must not be closed
    try:
        set_up_logs("gateway", style, "warning")
        assert [type(handler.formatter) for handler in root.handlers] == [formatter]
        logging.getLogger("some.library").info("quiet")
        logging.getLogger("some.library").warning("loud", extra={"why": "it must"})
        root.handlers[0].flush()
    finally:
        root.handlers = before
        root.setLevel(level)
    written = capfd.readouterr()
    assert written.out == ""
    [line] = written.err.splitlines()
    assert "loud" in line
    assert "it must" in line


async def test_access_lines_are_written_in_bunches() -> None:
    with pipe() as (reads, writes):
        log = AccessLog("gateway", "json", writes)
        log.write(event="request", id="a\nb", status=200, ms=1.25)
        log.write(event="request", id='"', status=429, ms=0)
        assert log.lines, "nothing is written before a bunch is full or due"
        first, second = [json.loads(await asyncio.to_thread(reads.readline)) for _ in range(2)]
        assert list(first) == ["time", "tier", "event", "id", "status", "ms"]
        assert abs(first.pop("time") - time()) < 60
        assert first == {"tier": "gateway", "event": "request", "id": "a\nb", "status": 200, "ms": 1.25}
        assert second["id"] == '"'
        log.write(event="later")
        assert json.loads(await asyncio.to_thread(reads.readline))["event"] == "later", "nor only once"


async def test_a_full_bunch_does_not_wait() -> None:
    stream = io.BytesIO()
    log = AccessLog("gateway", "json", stream)
    for number in range(FLUSH_LINES + 1):
        log.write(number=number)
    assert len(log.lines) == 1
    assert log.writer.wait(20)
    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == list(range(FLUSH_LINES))
    await log.close()
    assert len(stream.getvalue().splitlines()) == FLUSH_LINES + 1
    await log.close()
    assert stream.getvalue().endswith(b"}\n")


async def test_a_human_access_line_is_one_line_whatever_came() -> None:
    stream = io.BytesIO()
    log = AccessLog("gateway", "human", stream)
    log.write(event="request", status=200, path="/größe", id="a\nb", model="\ud800")
    await log.close()
    expected = r" gateway   access  event=request status=200 path=/größe id='a\nb' model='\ud800'"
    assert stream.getvalue()[8:].decode() == f"{expected}\n"
