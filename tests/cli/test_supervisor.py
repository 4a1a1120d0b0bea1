"""`inferencehub run` where a process dies: it comes back, the others stay, and one that cannot start ends the run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from tests.cli.run_process import READY, READY_S, Run, running
from tests.hub import eventually, mock_model, write_model
from tests.machine import slowed

pytestmark = pytest.mark.long

AGAIN = r"is started again in 0.25 s$"
KILLS_ITS_POD = """
import os, signal

class Model:
    def __init__(self, directory, parameters):
        os.kill(os.getppid(), signal.SIGKILL)
"""


class Load:
    """Callers that ask one after another until they are told to stop; their statuses, each with the time of its end."""

    def __init__(self, run: Run, callers: int) -> None:
        self.url = f"{run.url}/predict"
        self.answers: list[tuple[float, int]] = []
        self.on = True
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(callers)]

    async def _ask(self) -> None:
        async with aiohttp.ClientSession() as client:
            while self.on:
                async with client.post(self.url, json={"features": [1]}) as answer:
                    await answer.read()
                    self.answers.append((monotonic(), answer.status))

    async def stop(self) -> Counter[int]:
        """The number of answers by status."""
        self.on = False
        await asyncio.gather(*self._tasks)
        return Counter(status for _, status in self.answers)


@pytest.mark.parametrize("pods", [1, 2])
async def test_a_killed_inference_service_comes_back_and_the_gateway_stays(tmp_path: Path, pods: int) -> None:
    mock_model(tmp_path, "quick", delay_ms=20)
    async with running(tmp_path, pods) as run, asyncio.timeout(READY_S):
        await run.until(READY)
        (gateway,) = run.children("gateway")
        load = Load(run, 8)
        await eventually(lambda: len(load.answers) > 50)
        os.kill(run.children("inference")[0], signal.SIGKILL)
        assert "was killed by SIGKILL" in (await run.until(AGAIN)).string
        await run.until("model ready")
        seen = len(load.answers)
        await eventually(lambda: [status for _, status in load.answers[seen:]].count(200) > 50)
        statuses = await load.stop()
        assert set(statuses) <= {200, 503}
        assert run.children("gateway") == [gateway]
        assert len(run.children("inference")) == pods
        run.process.send_signal(signal.SIGINT)
        assert await run.end() == 0


@pytest.mark.timing
async def test_answers_come_within_3_s_of_the_return_of_the_inference_service(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick", delay_ms=20)
    async with running(tmp_path) as run, asyncio.timeout(READY_S):
        await run.until(READY)
        load = Load(run, 8)
        await eventually(lambda: len(load.answers) > 50)
        os.kill(run.children("inference")[0], signal.SIGKILL)
        await run.until("model ready")
        back = monotonic()
        await eventually(lambda: any(at > back and status == 200 for at, status in load.answers))
        first = min(at for at, status in load.answers if at > back and status == 200)
        print(f"{first - back:.2f} s after its return, {await load.stop()}")
        assert first - back < slowed(3.0)


async def test_a_killed_gateway_comes_back_and_the_inference_service_stays(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick")
    async with running(tmp_path) as run, asyncio.timeout(READY_S), aiohttp.ClientSession() as client:
        await run.until(READY)
        pods = run.children("inference")
        for pause in ("0.25", "0.5"):
            os.kill(run.children("gateway")[0], signal.SIGKILL)
            said = await run.until(rf"the gateway was killed by SIGKILL; it is started again in {pause} s$")
            assert said.string.startswith("inferencehub: ")
            await run.until("inferencehub: the gateway is ready again$")
        async with client.post(f"{run.url}/predict", json={"features": [1]}) as answer:
            assert answer.status == 200
        assert run.children("inference") == pods


async def test_one_that_cannot_start_three_times_in_a_row_ends_the_run(tmp_path: Path) -> None:
    config = 'backend: "python" input { name: "x" data_type: TYPE_FP32 dims: [1] } '
    config += 'output { name: "y" data_type: TYPE_FP32 dims: [1] }'
    write_model(tmp_path, "deadly", config, {"1/model.py": KILLS_ITS_POD})
    async with running(tmp_path) as run, asyncio.timeout(READY_S):
        killed = "the inference service was killed by SIGKILL; it"
        await run.until(f"{killed} is started again in 0.25 s")
        await run.until(f"{killed} is started again in 0.5 s")
        await run.until(f"{killed} did not start 3 times in a row, so all ends$")
        assert await run.end() == 1
