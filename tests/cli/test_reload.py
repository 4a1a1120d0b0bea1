"""`inferencehub run DIR --reload`: a saved file is served within moments, no call is lost, and what does not load is not used."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from tests.cli.run_process import READY, READY_S, Run, running
from tests.hub import eventually, write_model
from tests.machine import slowed

pytestmark = pytest.mark.long

SAYS = """
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.number = %s

    def predict(self, inputs):
        return {"number": np.full((len(inputs["x"]), 1), self.number, dtype=np.int32)}
"""
CONFIG = """backend: "python" max_batch_size: 8
    input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
    output { name: "number" data_type: TYPE_INT32 dims: [ 1 ] }"""


class Callers:
    """Callers who ask one after another; the numbers they got, and which calls failed.

    `back` are answers that were older than one that had come before their call began.
    """

    def __init__(self, run: Run, count: int) -> None:
        self.url = f"{run.url}/v2/models/says/generate"
        self.seen: Counter[int] = Counter()
        self.failed: list[str] = []
        self.back: Counter[int] = Counter()
        self._on = True
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(count)]

    async def _ask(self) -> None:
        async with aiohttp.ClientSession() as client:
            while self._on:
                newest = max(self.seen, default=0)
                try:
                    async with client.post(self.url, json={"x": 1.0}) as answer:
                        number = (await answer.json())["number"]
                        self.seen[number] += 1
                        self.back[number] += number < newest
                except (aiohttp.ClientError, KeyError) as error:
                    self.failed.append(repr(error))

    async def stop(self) -> None:
        """Let each end its last call."""
        self._on = False
        await asyncio.gather(*self._tasks)


@asynccontextmanager
async def reloading(models: Path, named: str = "") -> AsyncIterator[Run]:
    """The command with a repository, or the one model in it that is `named`, which is ready; says answers 0."""
    write_model(models, "says", CONFIG, {"1/model.py": SAYS % 0})
    async with (
        running(more={"HUB_MODELS": ""}, arguments=(str(models / named), "--reload")) as run,
        asyncio.timeout(READY_S),
    ):
        await run.until(READY)
        yield run


async def test_calls_go_on_while_a_model_is_saved_five_times(tmp_path: Path) -> None:
    write_model(tmp_path, "says", CONFIG, {"1/model.py": SAYS % 0})
    took = []
    async with running(more={"HUB_MODELS": ""}, arguments=(str(tmp_path), "--reload")) as run:
        async with asyncio.timeout(READY_S):
            await run.until(READY)
        callers = Callers(run, 8)
        await eventually(lambda: callers.seen[0] > 100)
        for number in range(1, 6):
            began = monotonic()
            (tmp_path / "says/1/model.py").write_text(SAYS % number)
            await eventually(lambda number=number: callers.seen[number] > 0)
            took.append(monotonic() - began)
            await eventually(lambda: len(run.children("inference")) == 2)  # the newest, and the next one's
        before = callers.seen.copy()
        await eventually(lambda: callers.seen[5] - before[5] > 100)
        await callers.stop()
        assert callers.failed == []
        assert callers.seen - before == Counter({5: callers.seen[5] - before[5]})  # nobody answers as before
        assert callers.back.total() == 0, f"{callers.back} of {callers.seen}"
        run.process.terminate()
        assert await run.end() == 0
    print(f"from save to the first new answer: {', '.join(f'{one:.2f}' for one in took)} s")


async def test_calls_get_the_new_model_when_the_terminal_says_so(tmp_path: Path) -> None:
    async with reloading(tmp_path) as run, aiohttp.ClientSession() as client:
        for number in range(1, 4):
            (tmp_path / "says/1/model.py").write_text(SAYS % number)
            await run.until("the models have changed")
            for _ in range(20):
                async with client.post(f"{run.url}/v2/models/says/generate", json={"x": 1.0}) as answer:
                    assert (await answer.json())["number"] == number


async def test_a_removed_model_is_gone_and_so_are_processes_from_before(tmp_path: Path) -> None:
    async with reloading(tmp_path) as run, aiohttp.ClientSession() as client:

        async def names() -> set[str]:
            async with client.get(f"{run.url}/v2/models") as answer:
                return {model["name"] for model in (await answer.json())["models"]}

        write_model(tmp_path, "second", CONFIG, {"1/model.py": SAYS % 2})
        await run.until("the models have changed")
        assert await names() == {"says", "second"}
        shutil.rmtree(tmp_path / "second")
        await run.until("the models have changed")
        while await names() != {"says"}:  # until the process before has ended
            pass
        async with client.get(f"http://127.0.0.1:{run.ports[1]}/doctor") as answer:
            said = await answer.text()
        assert "1 of 1 accept work" in said
        assert "nothing listens" not in said


@pytest.mark.timing
async def test_a_saved_file_is_served_within_a_second(tmp_path: Path) -> None:
    write_model(tmp_path, "says", CONFIG, {"1/model.py": SAYS % 0})
    took = []
    async with running(more={"HUB_MODELS": ""}, arguments=(str(tmp_path), "--reload")) as run:
        await run.until(READY)
        callers = Callers(run, 1)
        for number in range(1, 6):
            await asyncio.sleep(2)  # the next process has imported everything
            began = monotonic()
            (tmp_path / "says/1/model.py").write_text(SAYS % number)
            await eventually(lambda number=number: callers.seen[number] > 0)
            took.append(monotonic() - began)
        await callers.stop()
    assert min(took) < slowed(1.0), took


async def test_what_does_not_load_is_not_used_and_its_sentence_is_said(tmp_path: Path) -> None:
    file = tmp_path / "says/1/model.py"
    async with reloading(tmp_path, "says") as run:
        callers = Callers(run, 2)
        file.write_text((SAYS % 2)[:60])
        said = await run.until("the change is not used")
        assert "model says version 1: it does not load: " in said.string
        assert "model.py" in said.string
        file.write_text("import not_there\n")
        said = await run.until("the change is not used")
        assert "not_there" in said.string
        (tmp_path / "says/config.pbtxt").write_text("max_batch: 3")
        said = await run.until("the change is not used")
        assert "max_batch" in said.string
        (tmp_path / "says/config.pbtxt").write_text(CONFIG)
        file.write_text(SAYS % 3)
        await eventually(lambda: callers.seen[3] > 0)
        await callers.stop()
        assert callers.failed == []
        assert set(callers.seen) == {0, 3}


async def test_a_new_model_that_does_not_load_yet_holds_up_nothing(tmp_path: Path) -> None:
    async with reloading(tmp_path) as run:
        write_model(tmp_path, "draft", CONFIG, {"1/model.py": "import not_there"})
        said = await run.until("model draft")
        assert "not_there" in said.string
        callers = Callers(run, 1)
        (tmp_path / "says/1/model.py").write_text(SAYS % 2)
        await eventually(lambda: callers.seen[2] > 0)
        await callers.stop()
        assert callers.failed == []


async def test_a_first_start_with_a_broken_model_is_repaired_by_saving_it(tmp_path: Path) -> None:
    write_model(tmp_path, "says", CONFIG, {"1/model.py": "import not_there"})
    async with running(more={"HUB_MODELS": ""}, arguments=(str(tmp_path), "--reload")) as run:
        async with asyncio.timeout(READY_S):
            await run.until("model unavailable")
        await asyncio.sleep(1)  # somebody reads the sentence
        (tmp_path / "says/1/model.py").write_text(SAYS % 4)
        async with asyncio.timeout(READY_S):
            await run.until(READY)
        callers = Callers(run, 1)
        await eventually(lambda: callers.seen[4] > 0)
        await callers.stop()
        assert callers.failed == []


async def test_it_has_one_inference_service(tmp_path: Path) -> None:
    async with running(pods=2, arguments=(str(tmp_path), "--reload")) as run:
        assert await run.end() == 2
        assert "--reload has one inference service, got --pods 2" in "".join(run.lines)


async def test_a_ctrl_c_during_a_load_says_nothing_of_the_change(tmp_path: Path) -> None:
    async with reloading(tmp_path) as run:
        begun = tmp_path.with_name("begun")
        slow = f"import time; open({str(begun)!r}, 'w').close(); time.sleep(60)\n"
        (tmp_path / "says/1/model.py").write_text(slow + SAYS % 1)
        await eventually(begun.exists)
        run.process.send_signal(signal.SIGINT)
        assert await run.end() == 0
    assert "the change is not used" not in "".join(run.lines)
