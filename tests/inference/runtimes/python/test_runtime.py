"""Python models in real processes: their answers, and every way they can break."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
import uvloop

from inferencehub.core.oip.predict import predict_request
from inferencehub.core.oip.prediction import read_prediction
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.signature import ModelInfo
from inferencehub.core.values.tensors import Tensor, pack_bytes, unpack_bytes
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.python.runtime import Python
from inferencehub.inference.runtimes.runtime import ModelSource, ProcessRules
from inferencehub.inference.runtimes.support.arrays import to_array
from tests.inference.runtimes.one_answer import run_once
from tests.inference.runtimes.python.acting_model import (
    ACTOR,
    CONFIG,
    alive,
    ask,
    asked,
    back,
    children,
    loaded,
    pid_of,
    refusal,
    running,
    source,
    until,
)

ROOT = Path(__file__).parents[4]
MODELS, SOURCES = ROOT / "models", ROOT / "services"


async def test_answers_over_calls_of_all_sizes(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        assert await ask(runtime, "double", [1, 2, 3]) == [2, 4, 6]
        assert await ask(runtime, "parameter gain") == [3]
        assert await ask(runtime, "aligned") == [1]
        assert await ask(runtime, "double", []) == []
        for size in (2**14 - 3, 2**14, 2**15, 2**15 + 1, 3_000_001):
            x = np.arange(size, dtype=np.float32)
            (output,) = await run_once(runtime, 0, asked("double", x), monotonic() + 20)
            np.testing.assert_array_equal(to_array(output), x * 2)
        assert await ask(runtime, "count") == [10]


@pytest.mark.parametrize("size", [2, 3_000_001])
async def test_a_model_may_change_its_inputs(tmp_path: Path, size: int) -> None:
    code = ACTOR.replace("return x * 2", "x -= 1; return x")
    async with loaded(source(tmp_path, code)) as runtime:
        x = np.arange(size, dtype=np.float32)
        for _ in range(2):
            (output,) = await run_once(runtime, 0, asked("double", x), monotonic() + 20)
            np.testing.assert_array_equal(to_array(output), np.arange(size) - 1)


async def test_an_input_behind_one_of_odd_size_may_be_changed(tmp_path: Path) -> None:
    config = """
        backend: "python"
        input [ { name: "odd" data_type: TYPE_UINT8 dims: [ 3 ] }, { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
        output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }
    """
    code = """
class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs):
        for array in inputs.values():
            array += 1
        return {"y": inputs["x"]}
"""
    odd = Tensor("odd", "UINT8", (3,), bytes(3))
    x = Tensor("x", "FP32", (2,), np.array([1.5, -2], np.float32).tobytes())
    async with loaded(source(tmp_path, code, config)) as runtime:
        (output,) = await run_once(runtime, 0, InferRequest("m", "1", (odd, x)), monotonic() + 20)
        assert to_array(output).tolist() == [2.5, -1.0]


async def test_a_model_s_command_line_is_its_file(tmp_path: Path) -> None:
    code = "import sys\nAT_IMPORT = list(sys.argv)\n" + ACTOR
    async with loaded(source(tmp_path, code, CONFIG % "TYPE_STRING")) as runtime:
        (output,) = await run_once(runtime, 0, asked("gives AT_IMPORT + sys.argv"), monotonic() + 20)
        assert unpack_bytes(output.data) == [b"model.py", b"model.py"]


async def test_what_the_model_prints_is_no_answer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with loaded(source(tmp_path)) as runtime:
        assert await ask(runtime, "prints") == [1, 2]
    captured = capfd.readouterr()
    assert not captured.out
    assert captured.err.count("noise") == 11_001


async def test_rows_and_text(tmp_path: Path) -> None:
    config = """
        backend: "python" max_batch_size: 4
        input [ { name: "words" data_type: TYPE_STRING dims: [ 2 ] } ]
        output [ { name: "joined" data_type: TYPE_STRING dims: [ 1 ] },
                 { name: "bytes" data_type: TYPE_STRING dims: [ 2 ] },
                 { name: "length" data_type: TYPE_UINT8 dims: [ 1 ] } ]
    """
    code = """
import numpy as np
class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs):
        words = inputs["words"]
        joined = [[" ".join(word.decode() for word in row)] for row in words]
        return {"length": np.char.str_len(joined), "joined": joined, "bytes": words[:, ::-1], "more": 1}
"""
    words = [[b"gr\xc3\xbcn", b""], [b"a\0", b"b"]]
    flat = [word for row in words for word in row]
    async with loaded(source(tmp_path, code, config)) as runtime:
        request = InferRequest("m", "1", (Tensor("words", "BYTES", (2, 2), pack_bytes(flat)),))
        joined, reverse, length = await run_once(runtime, 0, request, monotonic() + 20)
    assert (joined.name, joined.shape, unpack_bytes(joined.data)) == (
        "joined",
        (2, 1),
        ["grün ".encode(), b"a\0 b"],
    )
    assert unpack_bytes(reverse.data) == [b"", b"gr\xc3\xbcn", b"b", b"a\0"]
    assert (length.dtype, length.shape, bytes(length.data)) == ("UINT8", (2, 1), b"\5\4")


async def test_instances_run_at_the_same_time(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, instances=2)) as runtime:
        await asyncio.gather(ask(runtime, "meet a b", number=0), ask(runtime, "meet b a", number=1))
        assert pid_of(runtime, 0) != pid_of(runtime, 1)


FAILED = "model 'm' failed on this request; its pod's log says why"


async def test_a_callers_part_of_an_exception_is_that_there_was_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with loaded(source(tmp_path)) as runtime:
        error = await refusal(runtime, "raises failure")
        assert (error.kind, error.detail) == (Kind.MODEL_FAILED, FAILED)
        (record,) = [record for record in caplog.records if hasattr(record, "traceback")]
        assert vars(record)["model"] == "m"
        assert "in raises" in vars(record)["traceback"]
        assert f"OSError: failure at {tmp_path}" in vars(record)["traceback"]
        assert "more" in vars(record)["traceback"]
        assert "worker.py" not in vars(record)["traceback"]
        assert (await refusal(runtime, "sys_exit")).detail == FAILED
        assert runtime.recovery(0) is None
        assert await ask(runtime, "count") == [3]


async def test_a_value_error_is_a_sentence_for_the_caller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with loaded(source(tmp_path)) as runtime:
        caplog.clear()
        error = await refusal(runtime, "raises refusal")
        assert (error.kind, error.detail) == (Kind.BAD_INPUT, "model 'm': refusal at model.py")
        (record,) = [record for record in caplog.records if record.levelname != "DEBUG"]
        assert (record.levelname, record.message) == ("INFO", "model refused")
        assert (vars(record)["model"], vars(record)["detail"]) == ("m", "model 'm': refusal at model.py")
        assert "traceback" not in vars(record)
        # One in the declared outputs is the model's own fault.
        assert (await refusal(runtime, "gives np.array([b'a'])")).kind is Kind.MODEL_FAILED


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ("inputs, parameters", {"word": "a", "whole": 2, "part": 0.5, "yes": True}),
        ("inputs, parameters=None", {"word": "a", "whole": 2, "part": 0.5, "yes": True}),
        ("inputs", {}),
        ("inputs, *, parameters={}", {}),
        ("*inputs, parameters={}", {}),
    ],
)
async def test_parameters_reach_a_predict_that_takes_them(
    tmp_path: Path, arguments: str, given: dict[str, bool | int | float | str]
) -> None:
    config = """
        backend: "python"
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
        output [ { name: "y" data_type: TYPE_STRING dims: [ 1 ] } ]
    """
    code = f"""
class Model:
    def __init__(self, directory, config): pass
    def predict(self, {arguments}):
        return {{"y": [repr(sorted(locals().get("parameters", {{}}).items()))]}}
"""
    async with loaded(source(tmp_path, code, config)) as runtime:
        x = Tensor("x", "FP32", (1,), bytes(4))
        parameters: dict[str, bool | int | float | str] = {"word": "a", "whole": 2, "part": 0.5, "yes": True}
        (output,) = await run_once(
            runtime, 0, InferRequest("m", "1", (x,), parameters=parameters), monotonic() + 20
        )
        assert unpack_bytes(output.data) == [repr(sorted(given.items())).encode()]
        (output,) = await run_once(runtime, 0, InferRequest("m", "1", (x,)), monotonic() + 20)
        assert unpack_bytes(output.data) == [b"[]"]


async def test_a_crash_costs_its_own_call_and_the_instance_comes_back(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, instances=2)) as runtime:
        other, first = pid_of(runtime, 1), pid_of(runtime, 0)
        error = await refusal(runtime, "exit 7")
        assert error.kind is Kind.MODEL_FAILED
        assert error.detail == "model 'm': its process ended (exit status 7) while it ran"
        assert runtime.recovery(1) is None
        await back(runtime)
        assert await ask(runtime, "double") == [2, 4]
        assert pid_of(runtime, 0) != first
        assert pid_of(runtime, 1) == other


async def test_an_instance_that_crashed_is_back_soon(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        await refusal(runtime, "exit 7")
        await back(runtime)


async def test_a_kill_while_it_runs_is_told_at_once(tmp_path: Path) -> None:
    changed: list[int] = []
    async with loaded(source(tmp_path), changed.append) as runtime:
        run = asyncio.create_task(refusal(runtime, "nap 60"))
        await until((tmp_path / "begun").exists)
        os.kill(pid_of(runtime, 0), signal.SIGKILL)
        error = await asyncio.wait_for(run, 30)
        assert error.detail == "model 'm': its process ended (signal 9) while it ran"
        await back(runtime)
        assert await ask(runtime, "count") == [1]
        assert changed == []


async def test_a_kill_while_idle_is_noticed_and_repaired(tmp_path: Path) -> None:
    changed: asyncio.Queue[int] = asyncio.Queue()
    async with loaded(source(tmp_path, instances=2), changed.put_nowait) as runtime:
        os.kill(pid_of(runtime, 1), signal.SIGKILL)
        assert await asyncio.wait_for(changed.get(), 30) == 1
        await back(runtime, 1)
        assert await ask(runtime, "double", number=1) == [2, 4]


async def test_a_call_that_meets_a_dead_process_waits_for_the_next(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        for _ in range(3):
            # No pass of the loop between kill and run: nobody has noticed yet.
            os.kill(pid_of(runtime, 0), signal.SIGKILL)
            assert await ask(runtime, "count") == [1]
        os.kill(pid_of(runtime, 0), signal.SIGKILL)
        error = await refusal(runtime, "count", seconds=0.02)
        assert error.kind is Kind.DEADLINE
        await back(runtime)


@pytest.mark.parametrize("hang", ["nap 60", "loop", "hold"])
async def test_without_a_grace_a_hang_ends_at_the_deadline(tmp_path: Path, hang: str) -> None:
    async with loaded(source(tmp_path, processes=ProcessRules(grace_s=0))) as runtime:
        pid, began = pid_of(runtime, 0), monotonic()
        error = await refusal(runtime, hang, seconds=0.3)
        assert 0.3 <= monotonic() - began < 15
        assert error.kind is Kind.DEADLINE
        assert error.detail == "model 'm': its run did not end by the request's deadline"
        assert (tmp_path / "begun").read_text() == str(pid)
        assert not alive(pid)
        await back(runtime)
        assert await ask(runtime, "double") == [2, 4]


async def test_a_cancelled_call_ends_with_its_work(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        run = asyncio.create_task(ask(runtime, "meet mine theirs"))
        await until((tmp_path / "mine").exists)
        run.cancel()
        await asyncio.sleep(0)
        run.cancel()
        done, _ = await asyncio.wait({run}, timeout=0.1)
        assert not done
        (tmp_path / "theirs").touch()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert await ask(runtime, "count") == [2]
        assert runtime.recovery(0) is None


async def test_a_cancelled_call_that_hangs_ends_at_the_deadline(tmp_path: Path) -> None:
    async with loaded(source(tmp_path, processes=ProcessRules(grace_s=0))) as runtime:
        run = asyncio.create_task(ask(runtime, "loop", seconds=0.3))
        await until((tmp_path / "begun").exists)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(run), 30)
        await back(runtime)


@pytest.mark.parametrize(
    "noise",
    [
        "b'x' * 64",
        "b'\\1' + bytes(15) + b'x' * 8",
        "b'\\1' + bytes(15) + b'x' * 50",
        "b'\\1' + bytes(12) + b'\\4\\0\\0' + b'x' * 50",  # 16 GiB
    ],
)
async def test_a_model_that_writes_into_the_channel_is_ended(tmp_path: Path, noise: str) -> None:
    async with loaded(source(tmp_path)) as runtime:
        error = await asyncio.wait_for(refusal(runtime, f"meddles {noise}"), 30)
        assert error.detail == "model 'm': its process ended (signal 9) while it ran"
        await back(runtime)
        assert await ask(runtime, "double") == [2, 4]


async def test_loading_is_tried_again_until_it_works(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        (tmp_path / "refuse").touch()
        await refusal(runtime, "exit 1")
        await back(runtime)
        assert not (tmp_path / "refuse").exists()
        assert await ask(runtime, "count") == [1]


async def test_an_unload_ends_what_waits_for_recovery(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        await refusal(runtime, "exit 1")
        recovery = runtime.recovery(0)
        assert recovery is not None
        run = asyncio.create_task(refusal(runtime, "count"))
        await asyncio.sleep(0)
        await runtime.unload()
        await asyncio.wait_for(recovery, 30)
        assert (await run).kind is Kind.NOT_READY


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("class Model(:", "model.py cannot be loaded: invalid syntax (model.py, line 1)"),
        (
            "import nowhere_to_be_found",
            "model.py cannot be loaded, line 1: No module named 'nowhere_to_be_found'",
        ),
        ("model = 1", "model.py has no class Model"),
        ("class Model: pass", "model.py cannot be loaded: Model() takes no arguments"),
        (
            "class Model:\n  def __init__(self, *_): open(_[0] / 'weights')",
            "model.py cannot be loaded, line 2: [Errno 2] No such file or directory: 'weights'",
        ),
        (
            "class Model:\n  def __init__(self, *_): pass",
            "model.py has a class Model without a method predict",
        ),
        ("import os; os._exit(5)", "model.py: its process ended (exit status 5) while it loaded"),
        ("import sys; sys.exit(5)", "model.py cannot be loaded, line 1: 5"),
    ],
)
async def test_what_cannot_be_loaded_says_why(tmp_path: Path, code: str, sentence: str) -> None:
    before = set(children())  # what an earlier test has ended
    with pytest.raises(HubError) as caught:
        await Python(source(tmp_path, code, instances=2)).load()
    assert (caught.value.kind, caught.value.detail) == (Kind.MODEL_FAILED, sentence)
    assert set(children()) <= before


async def test_a_cancelled_load_leaves_no_process(tmp_path: Path) -> None:
    code = "import os, pathlib, time\npathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))\ntime.sleep(60)"
    load = asyncio.create_task(Python(source(tmp_path, code)).load())
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_a_load_can_be_cancelled_at_any_step(tmp_path: Path) -> None:
    before = set(children())
    for steps in range(6):
        load = asyncio.create_task(Python(source(tmp_path)).load())
        for _ in range(steps):
            await asyncio.sleep(0)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert set(children()) <= before


async def test_unload_lets_the_model_close_and_ends_its_children(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        child = int((await ask(runtime, "child"))[0])
        assert alive(child)
        await runtime.unload()
        assert (tmp_path / "closed").exists()
        await until(lambda: not running(child))


async def test_a_forked_child_does_not_hide_a_death(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        child = int((await ask(runtime, "forked"))[0])
        error = await asyncio.wait_for(refusal(runtime, "exit 1"), 30)
        assert error.kind is Kind.MODEL_FAILED
        await until(lambda: not running(child))
        await back(runtime)


async def test_unload_does_not_wait_for_a_model_that_does_not_end(tmp_path: Path) -> None:
    code = ACTOR.replace("def close(self): ", "def close(self): time.sleep(60); ")
    async with loaded(source(tmp_path, code)) as runtime:
        began = monotonic()
        await runtime.unload()
        assert 2 <= monotonic() - began < 15


async def test_an_interrupt_is_the_service_s_business(tmp_path: Path) -> None:
    async with loaded(source(tmp_path)) as runtime:
        pid = pid_of(runtime, 0)
        assert os.getpgid(pid) != os.getpgid(0)
        run = asyncio.create_task(ask(runtime, "meet mine theirs"))
        await until((tmp_path / "mine").exists)
        os.kill(pid, signal.SIGINT)
        (tmp_path / "theirs").touch()
        assert await run == [1, 2]


async def test_a_busy_process_dies_with_the_service(tmp_path: Path) -> None:
    source(tmp_path, "import time\nprint('begun', flush=True)\nwhile True: pass")
    service = """
import asyncio, sys
from pathlib import Path
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.runtime import ModelSource, ProcessRules
from inferencehub.inference.runtimes.python.runtime import Python
directory = Path(sys.argv[1])
config = parse_config(sys.argv[2], "m")
asyncio.run(Python(ModelSource("m", "1", directory, directory / "model.py", config, 1)).load())
"""
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", service, str(tmp_path), CONFIG % "TYPE_FP32"),
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stderr=asyncio.subprocess.PIPE,
    )
    assert parent.stderr is not None
    assert await asyncio.wait_for(parent.stderr.readline(), 30) == b"begun\n"
    (worker,) = children(parent.pid)
    parent.kill()
    await parent.wait()
    await until(lambda: not running(int(worker)))


async def test_a_model_is_found_beside_its_files_and_writes_none(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("GAIN = 5")
    code = "from beside import GAIN\n" + ACTOR.replace("x * 2", "x * GAIN")
    async with loaded(source(tmp_path, code)) as runtime:
        assert await ask(runtime, "double") == [5, 10]
    assert not (tmp_path / "__pycache__").exists()


async def test_the_example_names_colours() -> None:
    directory = MODELS / "nearest-colour"
    config = parse_config((directory / "config.pbtxt").read_text(), directory.name)
    runtime = Python(
        ModelSource(directory.name, "1", directory / "1", directory / "1" / "model.py", config, 1)
    )
    signature = await runtime.load()
    info = ModelInfo(directory.name, "1", "python", signature, parameters=(("predict_label", "label"),))
    try:
        for features, label in (([250, 10, 10], "red"), ([10, 5, 20], "black"), ([0, 200, 240], "cyan")):
            request = predict_request(info, "1", [float(value) for value in features], None)
            checked, _ = signature.check(request)
            outputs = await run_once(runtime, 0, checked, monotonic() + 20)
            prediction = read_prediction(info, InferResponse(directory.name, "1", outputs))
            assert prediction.label == label
            assert prediction.confidence > 0.9
    finally:
        await runtime.unload()


@pytest.mark.long
@pytest.mark.parametrize(
    "scenario",
    [
        test_answers_over_calls_of_all_sizes,
        test_a_crash_costs_its_own_call_and_the_instance_comes_back,
        test_a_kill_while_it_runs_is_told_at_once,
        test_a_kill_while_idle_is_noticed_and_repaired,
        test_a_call_that_meets_a_dead_process_waits_for_the_next,
        test_a_cancelled_call_ends_with_its_work,
        test_an_unload_ends_what_waits_for_recovery,
        test_a_load_can_be_cancelled_at_any_step,
        test_unload_lets_the_model_close_and_ends_its_children,
    ],
    ids=lambda scenario: scenario.__name__.removeprefix("test_"),
)
def test_on_uvloop_too(tmp_path: Path, scenario: Callable[[Path], Coroutine[None, None, None]]) -> None:
    uvloop.run(scenario(tmp_path))
