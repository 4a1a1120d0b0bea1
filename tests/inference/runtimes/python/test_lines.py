"""What a Python model logs and prints: lines of the pod's log that say whose call it was, and no more than a bound."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from time import monotonic

import pytest

from inferencehub.core.process.logs import Json
from inferencehub.core.values.requests import Callers
from inferencehub.inference.runtimes.python.lines import LINES
from tests.inference.runtimes.one_answer import run_once
from tests.inference.runtimes.python.acting_model import asked, loaded, pid_of, source, until

TALKER = """
import logging, os, sys, threading, warnings

class Model:
    def __init__(self, directory, parameters):
        print("made")

    def predict(self, inputs):
        getattr(self, inputs["do"].ravel()[0].decode())()
        return {"y": [1]}

    def logs(self):
        log = logging.getLogger("mine")
        log.info("seen %d", 3, extra={"rows": 3, "tier": "gateway", "model": "other", "name_of": ["x"]})
        log.debug("unseen")
        try: 1 / 0
        except ZeroDivisionError: log.exception("failed")
    def prints(self):
        print("one", "two")
        print("half, ", end="")
        print("whole\\nand more", flush=True)
        print("wrong", file=sys.stderr)
        warnings.warn("old")
    def native(self):
        os.write(1, b"plain \\xff\\n\\x1e{no line}\\n")
    def long(self): print("x" * 40_000)
    def crash(self):
        print("last words")
        os.write(2, b"and its dump")
        os._exit(3)
    def endless(self):
        while True: print("again " * 20)
    def flood(self):
        for number in range(3 * 1000): print(number)
"""


async def call(runtime: object, do: str, seconds: float = 60) -> None:
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    request = asked(do).with_callers(Callers("me", 1, trace))
    await run_once(runtime, 0, request, monotonic() + seconds)  # type: ignore[arg-type]


def came(caplog: pytest.LogCaptureFixture, *fields: str) -> list[tuple[object, ...]]:
    """Fields of the model's lines."""
    records = [record for record in caplog.records if record.name == "model"]
    return [tuple(getattr(record, field, None) for field in fields) for record in records]


async def test_a_line_says_whose_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with loaded(source(tmp_path, TALKER)) as runtime:
        pid = pid_of(runtime, 0)
        await call(runtime, "logs")
    about = ("model", "version", "pid", "id", "trace_id")
    assert came(caplog, "levelname", "message", "source", *about) == [
        ("INFO", "made", "stdout", "m", "1", pid, None, None),
        ("INFO", "seen 3", "mine", "m", "1", pid, "me", "ab" * 16),
        ("ERROR", "failed", "mine", "m", "1", pid, "me", "ab" * 16),
    ]
    assert came(caplog, "rows", "name_of")[1] == (3, "['x']")
    assert "ZeroDivisionError: division by zero" in str(came(caplog, "traceback")[2])
    seen = next(record for record in caplog.records if record.getMessage() == "seen 3")
    assert '"tier":"inference","logger":"model","event":"seen 3"' in Json("inference").format(seen)


async def test_each_printed_line_is_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with loaded(source(tmp_path, TALKER)) as runtime:
        for do in ("prints", "native", "long"):
            await call(runtime, do)
    lines = came(caplog, "levelname", "message", "source", "id")
    assert lines[1:5] == [
        ("INFO", "one two", "stdout", "me"),
        ("INFO", "half, whole", "stdout", "me"),
        ("INFO", "and more", "stdout", "me"),
        ("WARNING", "wrong", "stderr", "me"),
    ]
    assert "UserWarning: old" in str(lines[5])
    native, *long = [line for line in lines if line[1] and ("plain" in str(line) or "xxx" in str(line))]
    assert native == ("WARNING", "plain \ufffd", "stderr", None)
    assert ("WARNING", "\x1e{no line}", "stderr", None) in lines
    assert [len(str(line[1])) for line in long] == [16_000, 16_000, 8_000]


async def test_the_level_is_that_of_the_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    async with loaded(source(tmp_path, TALKER)) as runtime:
        for do in ("logs", "prints"):
            await call(runtime, do)
    assert [event for (event,) in came(caplog, "message")][:2] == ["failed", "wrong"]


async def test_what_a_process_said_before_it_died_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with loaded(source(tmp_path, TALKER)) as runtime:
        with pytest.raises(Exception, match="exit status 3"):
            await call(runtime, "crash")
        said = [event for (event,) in came(caplog, "message")]
        assert said[:3] == ["made", "last words", "and its dump"]


async def test_a_close_that_fails_is_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    code = f"{TALKER}\n    def close(self): raise OSError('no disk')\n"
    async with loaded(source(tmp_path, code)) as runtime:
        await runtime.unload()
    assert came(caplog, "levelname", "message")[1:] == [("ERROR", "close failed")]
    assert "OSError: no disk" in str(came(caplog, "traceback")[1])


async def test_lines_beyond_the_bound_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with loaded(source(tmp_path, TALKER)) as runtime:
        await call(runtime, "flood")
        dropped = ("log lines were dropped", "m", "1")
        await until(lambda: dropped in came(caplog, "message", "model", "version"))
    numbers = [event for (event,) in came(caplog, "message") if str(event).isdigit()]
    lost = sum(int(str(lines or 0)) for (lines,) in came(caplog, "lines"))
    assert len(numbers) + lost == 3000
    assert len(numbers) >= LINES - 1
    assert numbers[: LINES - 1] == [str(number) for number in range(LINES - 1)]


@pytest.mark.long
async def test_a_model_that_logs_without_end_costs_itself_and_not_the_service(tmp_path: Path) -> None:
    logging.getLogger().setLevel(logging.INFO)
    async with loaded(source(tmp_path, TALKER)) as runtime:
        run = asyncio.create_task(call(runtime, "endless", 5))
        await asyncio.sleep(1)  # the first second is like the others
        before = os.times()
        await asyncio.sleep(3)
        after = os.times()
        took = after.user + after.system - before.user - before.system
        assert took < 0.75, took  # of 3 s
        assert not run.done()
        run.cancel()
        await asyncio.wait({run})
