"""Models with `async def predict`: many calls in flight per instance, and what a failure, a cancel and a crash cost."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import Callers
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.python.runtime import Python
from inferencehub.inference.runtimes.runtime import ProcessRules
from inferencehub.inference.runtimes.support.arrays import to_array
from tests.hub import running_hub, write_model
from tests.inference.runtimes.one_answer import run_once
from tests.inference.runtimes.python.acting_model import (
    CONFIG,
    ask,
    asked,
    back,
    loaded,
    pid_of,
    refusal,
    source,
    until,
)
from tests.inference.runtimes.python.test_memory import resident

WAITER = """
import asyncio, os, time
from pathlib import Path

class Model:
    def __init__(self, directory, parameters):
        self.directory, self.now, self.most, self.cancelled = directory, 0, 0, 0

    async def predict(self, inputs, context):
        x, (word, _, text) = inputs["x"], inputs["do"].ravel()[0].decode().partition(" ")
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return {"y": await getattr(self, word)(x, text)}
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.now -= 1

    async def double(self, x, text): return x * 2
    async def meet(self, x, text):
        here = self.directory / "here"
        here.mkdir(exist_ok=True)
        (here / f"{x[0]:.0f}").touch()
        while len(os.listdir(here)) < int(text): await asyncio.sleep(0.01)
        return x
    async def nap(self, x, text):
        (self.directory / f"begun {x[0]:.0f}").touch()
        await asyncio.sleep(float(text))
        return x
    async def counts(self, x, text): return [self.most, self.cancelled]
    async def raises(self, x, text): raise {"refusal": ValueError, "failure": OSError}[text](text)
    async def exit(self, x, text):
        status, _, calls = text.partition(" of ")
        while self.now < int(calls or 1): await asyncio.sleep(0.001)
        os._exit(int(status))
    async def block(self, x, text):
        (self.directory / "blocked").touch()
        time.sleep(float(text))
        return x
    async def stubborn(self, x, text):
        (self.directory / f"begun {x[0]:.0f}").touch()
        try: await asyncio.sleep(60)
        except asyncio.CancelledError: return x
    async def prints(self, x, text):
        await asyncio.sleep(0.05)
        print("at", text)
        return x
    async def large(self, x, text):
        import numpy as np
        return np.full(int(text), x[0], np.float32)
    async def close(self): (self.directory / "closed").touch()
"""


def config(most: int) -> str:
    return f'{CONFIG % "TYPE_FP32"} parameters {{ key: "max_in_flight" value {{ string_value: "{most}" }} }}'


@asynccontextmanager
async def waiting(
    directory: Path, most: int = 4, rules: ProcessRules | None = None, instances: int = 1
) -> AsyncIterator[Python]:
    made = source(directory, WAITER, config(most), instances, rules or ProcessRules())
    async with loaded(made) as runtime:
        yield runtime


async def test_calls_are_in_flight_together_and_each_has_its_own_answer(tmp_path: Path) -> None:
    async with waiting(tmp_path, 8) as runtime:
        answers = await asyncio.gather(
            *[ask(runtime, "meet 8", [number], number=number) for number in range(8)]
        )
        assert answers == [[number] for number in range(8)]
        assert await ask(runtime, "counts", number=3) == [8, 0]
        sizes = [1, 300_000, 20_000, 3_000_000]
        answers = await asyncio.gather(
            *[ask(runtime, f"large {size}", [size], number=number) for number, size in enumerate(sizes)]
        )
        assert [(len(answer), set(answer)) for answer in answers] == [(size, {size}) for size in sizes]
        await runtime.unload()
        assert (tmp_path / "closed").exists()


async def test_a_failure_costs_its_own_call(tmp_path: Path) -> None:
    async with waiting(tmp_path) as runtime:
        pid = pid_of(runtime, 0)
        nap = asyncio.create_task(ask(runtime, "nap 0.5", number=3))
        refused = await refusal(runtime, "raises refusal", number=1)
        assert (refused.kind, refused.detail) == (Kind.BAD_INPUT, "model 'm': refusal")
        failed = await refusal(runtime, "raises failure", number=2)
        assert (failed.kind, failed.detail) == (
            Kind.MODEL_FAILED,
            "model 'm' failed on this request; its pod's log says why",
        )
        assert await nap == [1, 2]
        assert pid_of(runtime, 0) == pid


async def test_a_deadline_and_a_cancel_end_their_own_call_at_once(tmp_path: Path) -> None:
    async with waiting(tmp_path) as runtime:
        pid = pid_of(runtime, 0)
        nap = asyncio.create_task(ask(runtime, "nap 1", [0], number=0))
        late = await refusal(runtime, "nap 60", number=1, seconds=0.2)
        assert late.kind is Kind.DEADLINE
        for x, do in enumerate(("nap 60", "stubborn"), 10):
            gone = asyncio.create_task(ask(runtime, do, [x], number=2))
            await until((tmp_path / f"begun {x}").exists)
            gone.cancel()
            began = monotonic()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert monotonic() - began < 10
        assert await nap == [0]
        assert await ask(runtime, "counts", number=1) == [2, 2]
        at_once = asyncio.create_task(ask(runtime, "nap 60", number=2))
        await asyncio.sleep(0)
        at_once.cancel()
        with pytest.raises(asyncio.CancelledError):
            await at_once
        assert await ask(runtime, "double", number=2) == [2, 4]
        assert pid_of(runtime, 0) == pid


async def test_a_crash_costs_the_calls_in_flight_of_its_instance_and_no_other(tmp_path: Path) -> None:
    changed: list[int] = []
    async with waiting(tmp_path, 3, instances=2) as runtime:
        runtime.instances[0].idle_death = changed.append
        other = asyncio.create_task(ask(runtime, "nap 0.5", number=3))
        nap = asyncio.create_task(refusal(runtime, "nap 60", number=1))
        errors = [await refusal(runtime, "exit 7 of 2", number=0), await nap]
        assert {error.detail for error in errors} == {
            "model 'm': its process ended (exit status 7) while it ran"
        }
        assert changed == [2]  # the slot without a call
        await back(runtime, 2)
        assert await other == [1, 2]
        for slot in range(6):
            assert await ask(runtime, "double", number=slot) == [2, 4]


async def test_a_call_that_blocks_the_loop_ends_the_process_behind_its_grace(tmp_path: Path) -> None:
    async with waiting(tmp_path, rules=ProcessRules(grace_s=0.2)) as runtime:
        pid = pid_of(runtime, 0)
        error = await refusal(runtime, "block 60", seconds=0.2)
        assert error.kind is Kind.DEADLINE
        await back(runtime)
        assert pid_of(runtime, 0) != pid


async def test_lines_of_calls_in_flight_have_their_own_ids(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with waiting(tmp_path) as runtime:
        await asyncio.gather(
            *[
                run_once(
                    runtime,
                    slot,
                    asked(f"prints {slot}").with_callers(Callers(f"id{slot}")),
                    monotonic() + 60,
                )
                for slot in range(4)
            ]
        )
    said = {(record.getMessage(), vars(record)["id"]) for record in caplog.records if record.name == "model"}
    assert said == {(f"at {slot}", f"id{slot}") for slot in range(4)}


async def test_one_in_flight_is_the_default(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, WAITER)) as runtime:
        assert runtime.slots_each == 1
        assert await ask(runtime, "double") == [2, 4]


@pytest.mark.parametrize(
    ("code", "most", "sentence"),
    [
        ("class Model:\n  def __init__(self, *_): pass\n  def predict(self, x): pass", "2",
         "model.py has no `async def predict`, and max_in_flight is 2"),
        (WAITER, "0", "parameter 'max_in_flight' is '0', expected a number from 1 to 256"),
        (WAITER, "x", "parameter 'max_in_flight' is 'x', expected a number from 1 to 256"),
    ],
)  # fmt: skip
async def test_what_cannot_be_in_flight_says_why(tmp_path: Path, code: str, most: str, sentence: str) -> None:
    made = source(tmp_path, code, config(2).replace('"2"', f'"{most}"'))
    with pytest.raises(HubError) as caught:
        await Python(made).load()
    assert caught.value.detail == sentence


async def test_the_lane_counts_a_slot_for_each_and_crashes_leave_all_of_them(tmp_path: Path) -> None:
    write_model(tmp_path, "m", f"{config(8)} instance_group {{ count: 2 }}", {"1/model.py": WAITER})
    async with running_hub(tmp_path) as hub:

        async def call(do: str, x: float = 1) -> tuple[int, object]:
            inputs = [
                {"name": "x", "datatype": "FP32", "shape": [1], "data": [x]},
                {"name": "do", "datatype": "BYTES", "shape": [1], "data": [do]},
            ]
            status, answer, _ = await hub.post("/v2/models/m/infer", {"inputs": inputs})
            return status, answer["outputs"][0]["data"] if status == 200 else answer["error"]

        for _ in range(2):
            shutil.rmtree(tmp_path / "m" / "1" / "here", ignore_errors=True)
            assert await asyncio.gather(*[call("meet 16", x) for x in range(16)]) == [
                (200, [x]) for x in range(16)
            ]
            assert (await call("exit 3"))[0] == 500


STREAMER = """
import asyncio

class Model:
    def __init__(self, *_): pass
    async def predict(self, inputs):
        for number in range(5):
            await asyncio.sleep(0.01)
            yield {"y": inputs["x"] + number}
"""


async def test_generators_are_in_flight_together(tmp_path: Path) -> None:
    decoupled = f"{config(4)} model_transaction_policy {{ decoupled: true }}"
    async with loaded(source(tmp_path, STREAMER, decoupled)) as runtime:

        async def values(slot: int) -> list[float]:
            came: list[float] = []

            def emit(outputs: tuple[Tensor, ...], weight: int) -> None:
                came.append(to_array(outputs[0]).tolist()[0])
                runtime.credit(slot, weight)

            assert await runtime.run(slot, asked("", [slot * 10]), monotonic() + 60, emit) is None
            return came

        answers = await asyncio.gather(*[values(slot) for slot in range(4)])
        assert answers == [[slot * 10 + number for number in range(5)] for slot in range(4)]


@pytest.mark.long
async def test_crashes_with_many_calls_in_flight_leave_nothing_behind(tmp_path: Path) -> None:
    async with waiting(tmp_path, 32) as runtime:
        levels = []
        for number in range(30):
            dos = ["exit 1 of 32"] + ["nap 60"] * 31
            await asyncio.gather(*[refusal(runtime, do, number=slot) for slot, do in enumerate(dos)])
            await back(runtime)
            assert await ask(runtime, "double", number=number) == [2, 4]
            gc.collect()  # what `pytest.raises` keeps in cycles
            levels.append((len(os.listdir("/proc/self/fd")), resident(os.getpid())))
        assert levels[-1][0] == levels[9][0]
        assert levels[-1][1] - levels[9][1] < 4 * 2**20, levels
