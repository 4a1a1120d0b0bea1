"""`EXECUTION_ENV_PATH`: a model in the interpreter of its own environment, which has numpy and no package of ours."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from math import inf
from pathlib import Path
from time import monotonic
from venv import EnvBuilder

import google.protobuf
import numpy as np
import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import Callers, InferRequest
from inferencehub.core.values.tensors import unpack_bytes
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.python_worker.start import refused
from inferencehub.inference.runtimes.runtime import ModelSource, make_runtime
from tests.hub import write_model
from tests.inference.pod_processes import calling_pod
from tests.inference.runtimes.one_answer import run_once
from tests.inference.runtimes.python.acting_model import (
    ACTOR,
    CONFIG,
    ask,
    asked,
    loaded,
    refusal,
    source,
    until,
)
from tests.written import request_to_proto

HERE = "$$TRITON_MODEL_DIRECTORY/environment"
OWN = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "%s" } }'
TEXT = CONFIG % "TYPE_STRING"
OTHER_PROTOBUF = (
    "protobuf==4.25.8 --hash=sha256:15a0af558aa3b13efef102ae6e4f3efac06f1eea11afb3a57db2901447d9fb59"
)
# Says what it finds.
FINDER = """
import json, logging, os, subprocess, sys
from multiprocessing import get_context
from inferencehub.model import metrics

CALLS = metrics.counter("calls", "calls of it", ("kind",))

def count():
    from inferencehub.model.context import Context
    return Context.__name__

class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs, context):
        CALLS.inc(kind="any")
        logging.warning("found", extra={"rows": 3})
        with get_context("spawn").Pool(1) as pool:
            child = pool.apply(count)
        foreign = {name.partition(".")[0] for name, module in sys.modules.items() if "site-packages" in (getattr(module, "__file__", None) or "")}
        return {"y": [json.dumps({
            "prefix": sys.prefix, "path": sys.path[1:], "foreign": sorted(foreign), "PYTHONPATH": os.environ.get("PYTHONPATH"),
            "parameters": dict(context.parameters), "id": context.id, "child": child,
        })]}
"""


def environment(directory: Path, *packages: str) -> Path:
    """A virtual environment without pip; `packages` are those of the tests' own environment that it has, too."""
    EnvBuilder(symlinks=True).create(directory)
    (site,) = (directory / "lib").glob("python*/site-packages")
    ours = Path(np.__file__).parents[1]
    for package in packages:
        for found in ours.glob(f"{package}*"):
            (site / found.name).symlink_to(found)
    return directory


def with_own(tmp_path: Path, code: str = ACTOR, config: str = CONFIG % "TYPE_FP32") -> ModelSource:
    """A model whose environment has numpy alone."""
    environment(tmp_path / "environment", "numpy")
    version = tmp_path / "1"
    version.mkdir()
    return source(version, code, config + OWN % HERE)


async def test_a_model_runs_with_numpy_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with loaded(with_own(tmp_path, FINDER, TEXT)) as runtime:
        parameters: dict[str, bool | int | float | str] = {
            "a": 1.5,
            "b": -(2**40),
            "c": True,
            "d": "ż" * 300,
            "e": inf,
        }
        request = InferRequest("m", "1", asked("").inputs, parameters=parameters, callers=Callers("id-1"))
        (output,) = await run_once(runtime, 0, request, monotonic() + 60)
    found = json.loads(unpack_bytes(output.data)[0])
    assert found["prefix"] == str(tmp_path / "environment")
    assert found["foreign"] == ["numpy"]
    assert [path for path in found["path"] if "packages" in path] == [
        str(next((tmp_path / "environment" / "lib").glob("python*/site-packages")))
    ]
    assert (found["PYTHONPATH"], found["child"]) == (None, "Context")
    assert (found["parameters"], found["id"]) == (parameters, "id-1")
    (line,) = [record for record in caplog.records if record.getMessage() == "found"]
    assert (vars(line)["rows"], vars(line)["id"]) == (3, "id-1")


async def test_it_is_a_python_model_as_any_other(tmp_path: Path) -> None:
    async with loaded(with_own(tmp_path)) as runtime:
        assert await ask(runtime, "double") == [2, 4]
        assert await ask(runtime, "double", list(range(40_000))) == list(range(0, 80_000, 2))
        assert await ask(runtime, "parameter gain") == [3]
        assert (await refusal(runtime, "raises refusal")).kind is Kind.BAD_INPUT
        assert (await refusal(runtime, "raises failure")).kind is Kind.MODEL_FAILED
        assert (
            await refusal(runtime, "exit 1")
        ).detail == "model 'm': its process ended (exit status 1) while it ran"
        assert await ask(runtime, "count") == [1]


async def test_what_it_measures_and_several_answers_arrive(tmp_path: Path) -> None:
    code = """
from inferencehub.model import metrics

WORDS = metrics.histogram("words", "words", ("kind",), buckets=(1, 10))

class Model:
    def __init__(self, *_): pass
    async def predict(self, inputs, context):
        for number in range(200):
            WORDS.observe(number, kind="a")
            yield {"y": inputs["x"] + number}
"""
    config = CONFIG % "TYPE_FP32" + 'parameters { key: "max_in_flight" value { string_value: "3" } }'
    made = with_own(tmp_path, code, config + "model_transaction_policy { decoupled: true }")
    came = []
    async with loaded(made) as runtime:

        def emit(outputs: tuple[object, ...], weight: int) -> None:
            came.append(outputs)
            runtime.credit(1, weight)

        assert await runtime.run(1, asked(""), monotonic() + 60, emit) is None
        assert len(came) == 200
        kept = runtime.own_metrics.kept
        await until(lambda: "words" in kept and sum(kept["words"].series[("a",)][:-1]) == 200)


async def why_not(made: ModelSource, kind: str = "python") -> tuple[Kind, str]:
    """Why a model does not load."""
    runtime = make_runtime(kind, made)
    with pytest.raises(HubError) as caught:
        await runtime.load()
    await runtime.unload()
    return caught.value.kind, caught.value.detail


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("/nowhere", "and there is no interpreter bin/python in it; expected a virtual environment"),
        (HERE, "and there is no interpreter bin/python in it; expected a virtual environment"),
        ("environment", "expected an absolute path or one that begins with $$TRITON_MODEL_DIRECTORY"),
        (f"{HERE}.tar.gz", "an archive; expected a directory: unpack it where the model is built"),
    ],
)
async def test_what_is_no_environment_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    made = source(tmp_path, config=TEXT + OWN % text)
    assert await why_not(made) == (Kind.BAD_INPUT, f"EXECUTION_ENV_PATH is '{text}', {sentence}")


async def test_an_environment_without_numpy_says_so(tmp_path: Path) -> None:
    made = source(tmp_path, config=TEXT + OWN % environment(tmp_path / "environment"))
    assert await why_not(made) == (
        Kind.MODEL_FAILED,
        "EXECUTION_ENV_PATH: numpy is not installed there, and the model's arrays need it",
    )


async def test_a_broken_numpy_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = source(tmp_path, config=TEXT + OWN % environment(tmp_path / "environment"))
    (site,) = (tmp_path / "environment" / "lib").glob("python*/site-packages")
    (site / "numpy").mkdir()
    (site / "numpy" / "__init__.py").symlink_to(np.__file__)  # without all that it imports
    assert await why_not(made) == (
        Kind.MODEL_FAILED,
        "EXECUTION_ENV_PATH: numpy cannot be imported there; its pod's log says why",
    )
    # What numpy lacks first depends on its version.
    assert re.search("(ImportError|ModuleNotFoundError): ", caplog.text)


def test_an_old_interpreter_says_so() -> None:
    came = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert refused() == ""
    assert refused((99, 0)) == f"EXECUTION_ENV_PATH: its interpreter is Python {came}, expected 99.0 or newer"


async def test_a_model_file_has_no_environment_of_its_own(tmp_path: Path) -> None:
    config = parse_config('backend: "lightgbm"' + OWN % environment(tmp_path / "environment"), "m")
    (tmp_path / "model.txt").write_text("tree")
    made = ModelSource("m", "1", tmp_path, tmp_path / "model.txt", config, 1)
    assert await why_not(made, "lightgbm") == (
        Kind.BAD_INPUT,
        "EXECUTION_ENV_PATH is for models of backend 'python', whose code is a model.py",
    )


def with_protobuf() -> Path:
    """An environment with numpy and another protobuf than ours; pip fetches that once for the tests' environment."""
    directory = Path(sys.prefix) / "with-protobuf-4"
    if not (directory / "fetched").exists():
        environment(directory, "numpy")
        (site,) = (directory / "lib").glob("python*/site-packages")
        wanted = directory / "wanted.txt"
        wanted.write_text(OTHER_PROTOBUF)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        any_platform = ["--only-binary=:all:", "--platform=any", "--target", str(site)]
        command = [*pip, *any_platform, "--requirement", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (directory / "fetched").touch()
    return directory


@pytest.mark.long
async def test_two_models_in_one_pod_have_two_versions_of_protobuf(tmp_path: Path) -> None:
    code = """
import google.protobuf
from google.protobuf.struct_pb2 import Struct  # generated, so it fails where two versions are mixed

class Model:
    def __init__(self, *_): pass
    def predict(self, inputs):
        made = Struct()
        made["version"] = google.protobuf.__version__
        return {"y": [Struct.FromString(made.SerializeToString())["version"]]}
"""
    write_model(tmp_path, "ours", TEXT, {"1/model.py": code})
    write_model(tmp_path, "other", TEXT + OWN % with_protobuf(), {"1/model.py": code})
    async with calling_pod(tmp_path) as pod:
        found = {}
        for name in ("ours", "other", "ours", "other"):
            request = request_to_proto(asked(""))
            request.model_name = name
            (raw,) = (await pod.infer(request)).raw_output_contents
            (found[name],) = unpack_bytes(raw)
    assert found == {"ours": google.protobuf.__version__.encode(), "other": b"4.25.8"}
