"""`inferencehub run DIR --reload`: what is saved while models are still being loaded."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from tests.cli.run_process import READY, READY_S, running
from tests.cli.test_reload import CONFIG, SAYS, Callers
from tests.hub import eventually, write_model
from tests.processes import command

pytestmark = pytest.mark.long

SLOW = """
import os
from pathlib import Path
from time import sleep

Path({note!r}).write_text(str(os.getpid()))
sleep({seconds})
"""


def slow(number: int, seconds: float, note: Path) -> str:
    """A model that says a number and takes so long to load; `note` gets the id of its process when it begins."""
    return SLOW.format(note=str(note), seconds=seconds) + SAYS % number


async def test_a_later_save_overtakes_a_load_that_takes_long(tmp_path: Path) -> None:
    models, note = tmp_path / "models", tmp_path / "note"
    file = models / "says/1/model.py"
    write_model(models, "says", CONFIG, {"1/model.py": SAYS % 0})
    async with running(more={"HUB_MODELS": ""}, arguments=(str(models), "--reload")) as run:
        async with asyncio.timeout(READY_S):
            await run.until(READY)
        callers = Callers(run, 4)
        for number in (2, 4):
            file.write_text(slow(number - 1, 600, note))
            await eventually(lambda: note.exists() and note.read_text() != "")
            loading = int(note.read_text())
            note.unlink()
            assert command(loading)
            before = callers.seen[number - 2]
            await eventually(lambda number=number, before=before: callers.seen[number - 2] > before + 20)
            file.write_text(SAYS % number)
            async with asyncio.timeout(30):
                await run.until("the models have changed again, and the newest are loaded")
            await eventually(lambda number=number: callers.seen[number] > 0)
            await eventually(lambda loading=loading: not command(loading))
            await eventually(lambda: len(run.children("inference")) == 2)  # the newest, and the next one's
        before_end = callers.seen.copy()
        await eventually(lambda: callers.seen[4] > before_end[4] + 100)
        await callers.stop()
        assert callers.failed == []
        assert set(callers.seen) == {0, 2, 4}
        assert callers.seen - before_end == Counter({4: callers.seen[4] - before_end[4]})
        assert callers.back.total() == 0, f"{callers.back} of {callers.seen}"
        run.process.terminate()
        assert await run.end() == 0


async def test_files_that_change_all_the_time_are_loaded_all_the_same(tmp_path: Path) -> None:
    """As by a training run that writes into the model's directory."""
    models, note = tmp_path / "models", tmp_path / "note"
    write_model(models, "says", CONFIG, {"1/model.py": SAYS % 0})

    async def write() -> None:
        for number in count():
            (models / "says/losses.csv").write_text(f"{number}\n")
            await asyncio.sleep(0.4)

    async with running(more={"HUB_MODELS": ""}, arguments=(str(models), "--reload")) as run:
        async with asyncio.timeout(READY_S):
            await run.until(READY)
        callers = Callers(run, 1)
        (models / "says/1/model.py").write_text(slow(2, 2, note))
        writing = asyncio.create_task(write())
        await eventually(lambda: callers.seen[2] > 0, within_s=60)
        writing.cancel()
        await callers.stop()
        assert callers.failed == []


async def test_a_new_model_that_comes_while_the_first_ones_are_loaded_is_new_all_the_same(
    tmp_path: Path,
) -> None:
    """It may not load yet: it had counted as one that has loaded, and held up all that was saved later."""
    models, note = tmp_path / "models", tmp_path / "note"
    write_model(models, "says", CONFIG, {"1/model.py": slow(0, 2, note)})
    async with running(more={"HUB_MODELS": ""}, arguments=(str(models), "--reload")) as run:
        await eventually(note.exists)
        write_model(models, "draft", CONFIG, {"1/model.py": "import not_there"})
        async with asyncio.timeout(READY_S):
            await run.until(READY)
        callers = Callers(run, 1)
        (models / "says/1/model.py").write_text(SAYS % 2)
        await eventually(lambda: callers.seen[2] > 0)
        await callers.stop()
        assert callers.failed == []


async def test_a_signal_while_a_change_is_loaded_ends_all(tmp_path: Path) -> None:
    models, note = tmp_path / "models", tmp_path / "note"
    write_model(models, "says", CONFIG, {"1/model.py": SAYS % 0})
    async with running(more={"HUB_MODELS": ""}, arguments=(str(models), "--reload")) as run:
        async with asyncio.timeout(READY_S):
            await run.until(READY)
        (models / "says/1/model.py").write_text(slow(1, 600, note))
        await eventually(lambda: note.exists() and note.read_text() != "")
        run.process.terminate()
        async with asyncio.timeout(READY_S):
            assert await run.end() == 0
        await eventually(lambda: not command(int(note.read_text())))
