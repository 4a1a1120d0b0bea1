"""Files of a Python model that change while it serves: a process that comes back never runs others than its siblings."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from pathlib import Path

import pytest

from inferencehub.core.values.errors import HubError
from inferencehub.inference.runtimes.loaded_files import LoadedFiles
from inferencehub.inference.runtimes.python.runtime import Python
from tests.inference.runtimes.python.acting_model import ask, back, loaded, pid_of, source, until

ANSWERS = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"] * 0 + %s}
"""
CAME_NOT = "model process did not come back"


async def killed(runtime: Python, *numbers: int) -> None:
    """Kill the processes of some instances, and wait until that is noticed."""
    for number in numbers:
        os.kill(pid_of(runtime, number), signal.SIGKILL)
    await until(lambda: all(runtime.recovery(number) is not None for number in numbers))


async def test_beside_others_it_waits_for_the_files_that_they_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with loaded(source(tmp_path, ANSWERS % 1, instances=2)) as runtime:
        shutil.copy2(tmp_path / "model.py", before := tmp_path.parent / "before.py")
        (tmp_path / "model.py").write_text(ANSWERS % 2)
        await killed(runtime, 1)
        await until(lambda: CAME_NOT in caplog.text)
        (detail, *_) = [r.__dict__["detail"] for r in caplog.records if r.getMessage() == CAME_NOT]
        assert detail.startswith("'model.py' has changed since the model was loaded, and its other processes")
        assert await ask(runtime, "") == [1, 1]
        assert runtime.recovery(1) is not None
        shutil.copy2(before, tmp_path / "model.py")
        await back(runtime, 1)
        assert [await ask(runtime, "", number=number) for number in (0, 1)] == [[1, 1], [1, 1]]


async def test_once_all_have_ended_they_take_the_new_files(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, ANSWERS % 1, instances=2)) as runtime:
        (tmp_path / "model.py").write_text(ANSWERS % 2)
        (tmp_path / "new.txt").write_text("")  # what is new was not loaded
        await killed(runtime, 0, 1)
        await asyncio.gather(back(runtime, 0), back(runtime, 1))
        assert [await ask(runtime, "", number=number) for number in (0, 1)] == [[2, 2], [2, 2]]
        await killed(runtime, 0)
        await back(runtime, 0)
        assert await ask(runtime, "") == [2, 2]


async def test_files_that_are_being_written_are_not_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with loaded(source(tmp_path, ANSWERS % 1)) as runtime:

        async def write() -> None:
            for number in range(2, 12):
                (tmp_path / "model.py").write_text(ANSWERS % number)
                await asyncio.sleep(0.3)

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.1)
        await killed(runtime, 0)
        await back(runtime, 0)
        assert writing.done()
        assert await ask(runtime, "") == [11, 11]


async def test_a_model_may_change_files_while_it_is_loaded(tmp_path: Path) -> None:
    """Such as what it keeps in its directory; that is its own affair."""
    code = (ANSWERS % 1).replace(
        "pass", "open(f'{directory}/own.txt', 'w').write('x' * __import__('os').getpid())"
    )
    (tmp_path / "own.txt").write_text("")
    async with loaded(source(tmp_path, code, instances=2)) as runtime:
        await killed(runtime, 0)
        await back(runtime, 0)
        assert await ask(runtime, "") == [1, 1]


async def test_a_model_may_make_and_remove_directories_while_a_process_comes_back(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, ANSWERS % 1)) as runtime:
        loop = "while :; do mkdir -p 1/2/3/4 5/6/7/8; rm -r 1 5; done"
        coming_and_going = await asyncio.create_subprocess_exec("sh", "-c", loop, cwd=tmp_path)
        try:
            await killed(runtime, 0)
            await back(runtime)
            for _ in range(300):  # each look may meet one that goes
                await runtime.instances[0].files.look()
        finally:
            coming_and_going.kill()
            await coming_and_going.wait()
        assert await ask(runtime, "") == [1, 1]


async def test_a_change_while_a_process_comes_back_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("one")
    files = LoadedFiles(tmp_path)
    await files.watch(await files.look())
    before = await files.to_load()
    (tmp_path / "model.py").write_text("another")
    with pytest.raises(HubError, match=r"'model.py' changed while the model was loaded"):
        await files.were_loaded(before)
    await files.were_loaded(await files.to_load())
    files.running.add(1)
    (tmp_path / "model.py").unlink()
    with pytest.raises(HubError, match=r"'model.py' has changed since the model was loaded"):
        await files.to_load()
