"""`inferencehub.testing`: a model in the test's own process, and what is not as its config says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from inferencehub.model.calls import CallError
from inferencehub.testing import load
from tests.hub import MODELS, write_model

MODEL = """
import os
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.gain = float(parameters["gain"])
    {async_}def predict(self, inputs, context):
        self.pid = os.getpid()
        kind = context.parameters.get("kind", "")
        y = inputs["x"] * self.gain
        if kind == "refuse": raise ValueError("not this")
        return {{"": {{"y": y}}, "none": {{}}, "text": {{"y": ["a"]}}, "wide": {{"y": np.ones((1, 3), np.float32)}}}}[kind]
"""
CONFIG = """backend: "python" max_batch_size: 4
    input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }
    output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }
    parameters { key: "gain" value { string_value: "3" } }"""


@pytest.mark.parametrize("async_", ["", "async "])
def test_a_model_runs_in_the_test_s_process(tmp_path: Path, async_: str) -> None:
    write_model(tmp_path, "m", CONFIG, {"1/model.py": MODEL.format(async_=async_)})
    model = load(tmp_path / "m")
    outputs = model.predict({"x": [[1, 2], [3, 4]]})
    assert outputs["y"].tolist() == [[3, 6], [9, 12]]
    assert outputs["y"].dtype == "float32"
    assert model.model.pid == os.getpid()
    with pytest.raises(ValueError, match="not this"):
        model.predict({"x": [[1, 2]]}, {"kind": "refuse"})


@pytest.mark.parametrize(
    ("inputs", "kind", "sentence"),
    [
        ({"x": [[1, 2]]}, "none", "model 'm' gave no output 'y', only []"),
        ({"x": [[1, 2]]}, "wide", "model 'm' gave output 'y' of shape [1, 3], expected [1, 2]"),
        ({"x": [[1, 2, 3]]}, "", "model 'm': input 'x' has shape [1, 3], expected [-1, 2]"),
        ({"x": [["a", "b"]]}, "", "model 'm': an input "),
        ({"z": [[1, 2]]}, "", "model 'm' has no inputs ['z'], expected ['x']"),
        ({}, "", "model 'm': input 'x' is missing, expected 'x' FP32 [-1, 2], got []"),
        ({"x": [[1, 2]] * 5}, "", "model 'm': 5 rows in the request, expected 1 to 4"),
        ({"x": [[1, 2]]}, "text", "model 'm' gave output 'y' "),
    ],
)
def test_what_is_not_as_the_config_says(
    tmp_path: Path, inputs: dict[str, Any], kind: str, sentence: str
) -> None:
    write_model(tmp_path, "m", CONFIG, {"1/model.py": MODEL.format(async_="")})
    with pytest.raises(AssertionError) as caught:
        load(tmp_path / "m").predict(inputs, {"kind": kind})
    assert str(caught.value).startswith(sentence)


def test_a_text_has_a_row_and_comes_back_as_bytes(tmp_path: Path) -> None:
    config = CONFIG.replace("TYPE_FP32 dims: [ 2 ]", "TYPE_STRING dims: [ 1 ]")
    source = "class Model:\n    def __init__(self, *_): pass\n    def predict(self, inputs): return {'y': inputs['x'] + b'!'}"
    write_model(tmp_path, "m", config, {"1/model.py": source})
    model = load(tmp_path / "m")
    assert model.predict({"x": [["What?"]]})["y"].tolist() == [[b"What?!"]]
    with pytest.raises(AssertionError, match=r"input 'x' has shape \[1\], expected \[-1, 1\]"):
        model.predict({"x": ["What?"]})


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    write_model(tmp_path, "m", CONFIG, {"1/model.py": MODEL.format(async_="")})
    with pytest.raises(AssertionError, match=r"has no version '2', expected one of \['1'\]"):
        load(tmp_path / "m", "2")
    with pytest.raises(AssertionError, match="has backend 'mock', expected 'python'"):
        load(MODELS / "v1-mock")
    write_model(tmp_path, "n", CONFIG, {"1/model.py": "class Other: pass"})
    with pytest.raises(AssertionError, match="has no class Model"):
        load(tmp_path / "n")


def test_a_package_of_the_model_s_own_environment_is_not_here(tmp_path: Path) -> None:
    own = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/venv" } }'
    write_model(tmp_path, "m", CONFIG + own, {"1/model.py": "import nowhere_to_be_found"})
    with pytest.raises(ModuleNotFoundError) as caught:
        load(tmp_path / "m")
    (note,) = caught.value.__notes__
    assert note.startswith(
        "EXECUTION_ENV_PATH is '$$TRITON_MODEL_DIRECTORY/venv', whose packages a test gets only"
    )


def test_a_generator_gives_all_its_answers() -> None:
    model = load(MODELS / "markov-chat")
    inputs = {"messages": ['[{"role": "user", "content": "hello"}]']}
    assert len(model.answers(inputs)) > 1


CALLING = """
import asyncio
from inferencehub.model.calls import CallError

class Model:
    def __init__(self, directory, parameters): pass
    async def predict(self, inputs, context):
        try:
            given = [await context.call("m", inputs)]
            if context.parameters: context.call_sync("shift", inputs)
            given.append(await asyncio.to_thread(context.call_sync, "shift", {"x": inputs["x"][:1]}))
        except CallError as error:
            raise ValueError(f"{error.kind}: {error}")
        return {"y": given[0]["y"] + given[1]["y"]}
"""


def test_a_test_says_what_stands_for_other_models(tmp_path: Path) -> None:
    write_model(tmp_path, "m", CONFIG, {"1/model.py": MODEL.format(async_="async ")})
    write_model(tmp_path, "calling", CONFIG, {"1/model.py": CALLING})
    other = load(tmp_path / "m")

    async def shift(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"y": inputs["x"].astype("float64") + 1}

    def busy(inputs: dict[str, Any]) -> dict[str, Any]:
        raise CallError("shift", "busy", "come later")

    model = load(tmp_path / "calling", calls={"m": other, "shift": shift})
    assert model.predict({"x": [[1, 2], [3, 4]]})["y"].tolist() == [[5, 9], [11, 15]]
    with pytest.raises(RuntimeError, match="would block the event loop"):  # as in a pod
        model.predict({"x": [[1, 2]]}, {"block": True})
    with pytest.raises(ValueError, match="busy: call of model 'shift': come later"):
        load(tmp_path / "calling", calls={"m": other, "shift": busy}).predict({"x": [[1, 2]]})
    with pytest.raises(AssertionError, match=r"model 'calling' calls 'shift', and the test gives \['m'\]"):
        load(tmp_path / "calling", calls={"m": other}).predict({"x": [[1, 2]]})
