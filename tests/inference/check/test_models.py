"""A check loads models as a pod does, says what the pod would say, and calls each once."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest

from inferencehub.core.oip.prediction import Prediction
from inferencehub.core.values.errors import HubError
from inferencehub.inference.check.models import check
from inferencehub.inference.check.report import CheckReport, Described, ModelReport, as_text
from inferencehub.inference.settings import InferenceSettings
from tests.hub import MODELS, mock_model, running_pod, write_model
from tests.pages import FENCED, page

STRICT = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        if not inputs["x"].all():
            raise ValueError("a zero is no measurement")
        return {"y": inputs["x"]}
"""
STRICT_CONFIG = """backend: "python" max_batch_size: 4
    input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }
    output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }"""
RANDOM = """model_warmup { name: "some" batch_size: 1
    inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 2 ] random_data: true } } }"""


PICKY = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        if inputs["text"].item() != b"I love this":
            raise ValueError("another text was expected")
        return {"y": inputs["text"]}
"""
PICKY_CONFIG = """backend: "python" max_batch_size: 4
    input { name: "text" data_type: TYPE_STRING dims: [ 1 ] }
    output { name: "y" data_type: TYPE_STRING dims: [ 1 ] }
"""


async def checked(directory: Path, measure_s: float = 0.0) -> tuple[CheckReport, dict[str, ModelReport]]:
    """The report on a directory, and its models by name."""
    report = await check(directory, InferenceSettings(ops_port=0), measure_s)
    return report, {model.name: model for model in report.models}


def documented_warm_up(directory: Path) -> Path:
    """The repository of a text model that refuses zeros, with the warm-up of the documentation, whose code has run."""
    section = page("docs/models.md").partition("## Warm-up")[2].partition("\n## ")[0]
    [(_, config), (_, code)] = FENCED.findall(section)
    files = {"1/model.py": PICKY.encode(), "warmup/other": b""}
    write_model(directory / "models", "reviews", PICKY_CONFIG + config, files)
    (directory / "review.txt").write_text("I love this")
    subprocess.run([sys.executable, "-c", code], cwd=directory, check=True)
    return directory / "models"


async def test_the_warm_up_in_the_documentation_is_the_call(tmp_path: Path) -> None:
    report, models = await checked(documented_warm_up(tmp_path))
    assert report.ok, models["reviews"].fault
    assert models["reviews"].called_with == "the warm-up 'review'"


@pytest.mark.heavy
async def test_the_pictures_in_the_documentation_are_decoded(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="make test-heavy installs Pillow")
    section = page("docs/models.md").partition("### Pictures for a classifier")[2].partition("\n### ")[0]
    [code] = [text for language, text in FENCED.findall(section) if language == "python"]
    decode, ensemble = (text for _, text in FENCED.findall(section) if "max_batch_size" in text)
    made = BytesIO()
    image.new("RGB", (40, 30), (0, 0, 255)).save(made, "GIF")
    picture = made.getvalue()
    huge = picture[:6] + b"\xff\xff\xff\xff" + picture[10:]  # its width and its height
    for warm_up in (picture, huge):
        framed = len(warm_up).to_bytes(4, "little") + warm_up
        write_model(tmp_path, "decode", decode, {"1/model.py": code.encode(), "warmup/picture": framed})
        write_model(tmp_path, "pictures", ensemble)
        report, models = await checked(tmp_path)
        if warm_up is picture:
            assert report.ok, models["decode"].fault
            assert models["decode"].called_with == "the warm-up 'picture'"
        else:
            assert "the picture cannot be read: Image size (4294836225 pixels)" in models["decode"].fault


async def test_what_is_wrong_is_what_the_pod_says(tmp_path: Path) -> None:
    mock_model(tmp_path, "sound")
    write_model(tmp_path, "config", 'backend: "mock" max_batch: 3')
    write_model(tmp_path, "file", 'backend: "onnxruntime"')
    write_model(tmp_path, "graph", 'backend: "onnxruntime"', {"1/model.onnx": b"no graph"})
    (tmp_path / "empty").mkdir()
    report, models = await checked(tmp_path)
    async with running_pod(tmp_path) as pod:
        said = {model.name: model.reason for model in pod.models if model.reason}
    assert said.keys() == {"config", "file", "graph", "empty"}
    assert {name: model.fault for name, model in models.items() if not model.ok} == {
        name: f"it does not load: {reason}" for name, reason in said.items()
    }
    assert models["sound"].ok
    assert not report.ok
    text = as_text(report)
    assert "OK     sound version 1, mock\n" in text
    assert f"it does not load: {said['config']}" in text
    assert "5 model versions" in text
    assert "4 with a fault" in text


async def test_what_a_model_is_and_what_predict_reads() -> None:
    report, models = await checked(MODELS / "digits", measure_s=0.05)
    digits = models["digits"]
    assert report.ok
    assert digits.inputs == [Described("input", "FP32", (-1, 64))]
    assert digits.outputs == [Described("probabilities", "FP32", (-1, 10))]
    assert (digits.max_batch_size, digits.instances, digits.versions) == (64, 1, ["1"])
    assert (digits.called_with, digits.answers) == ("zeros", 1)
    assert digits.answered == [Described("probabilities", "FP32", (1, 10))]
    assert digits.prediction is not None
    assert digits.prediction.class_id == 4  # of an empty picture
    assert "yes: class_id 4, confidence 0.2276" in as_text(report)
    assert digits.calls >= 1
    assert 0 < digits.then_s <= 0.05 + digits.call_s * 10
    assert report.memory_bytes > 30 * 2**20


async def test_texts_are_read_and_several_versions_are_each_called(tmp_path: Path) -> None:
    (tmp_path / "sentiment").symlink_to(MODELS / "sentiment")
    mock_model(tmp_path, "two", more="version_policy { all { } }")
    (tmp_path / "two" / "7").mkdir()
    report, _ = await checked(tmp_path)
    assert [(model.name, model.version, model.versions) for model in report.models] == [
        ("sentiment", "1", ["1"]),
        ("two", "1", ["1", "7"]),
        ("two", "7", ["1", "7"]),
    ]
    assert report.models[0].called_with == "a short text"
    assert report.models[0].prediction == Prediction(1, 1.0, "neutral")


async def test_an_ensemble_is_described_and_not_called(tmp_path: Path) -> None:
    config = """platform: "ensemble"
        input { name: "a" data_type: TYPE_FP32 dims: [ 2 ] }
        output { name: "b" data_type: TYPE_FP32 dims: [ 2 ] }
        ensemble_scheduling { step { model_name: "other" input_map { key: "x" value: "a" } output_map { key: "y" value: "b" } } }"""
    write_model(tmp_path, "whole", config)
    report, models = await checked(tmp_path)
    assert report.ok, models["whole"].fault
    assert models["whole"].answers == 0
    assert "a gateway runs the steps" in as_text(report)


async def test_an_ensemble_whose_steps_do_not_fit_has_the_fault_that_a_gateway_finds(tmp_path: Path) -> None:
    mock_model(tmp_path, "first")
    config = """platform: "ensemble"
        input { name: "a" data_type: TYPE_INT64 dims: [ -1 ] }
        output { name: "b" data_type: TYPE_INT32 dims: [ 1 ] }
        ensemble_scheduling { step { model_name: "first"
            input_map { key: "features" value: "a" } output_map { key: "class_id" value: "b" } } }"""
    write_model(tmp_path, "whole", config)
    report, models = await checked(tmp_path)
    assert not report.ok
    assert models["first"].ok
    assert models["whole"].fault == (
        "step 1 (model 'first'): its input 'features' is FP32 [-1], and the tensor 'a' INT64 [-1]"
    )
    write_model(tmp_path, "first", 'backend: "onnxruntime"')
    _, models = await checked(tmp_path)
    assert models["whole"].fault == "step 1 (model 'first'): the model does not load"


ASKING = """
class Model:
    def __init__(self, directory, parameters):
        pass

    async def predict(self, inputs, context):
        {first}
        try:
            return await context.call("other", inputs)
        except Exception:
            {then}
"""


async def test_a_model_that_calls_others_is_loaded_and_has_no_fault(tmp_path: Path) -> None:
    for name, first, then in (
        ("asks", "pass", "raise"),
        ("translates", "pass", "raise ValueError('no other model')"),
        ("has-its-own", "pass", "return {'y': inputs['x']}"),
        ("fails-before", "raise ValueError('too dark')", "raise"),
    ):
        write_model(
            tmp_path, name, STRICT_CONFIG, {"1/model.py": ASKING.format(first=first, then=then).encode()}
        )
    report, models = await checked(tmp_path)
    assert {name: (model.ok, model.asks) for name, model in models.items()} == {
        "asks": (True, ["other"]),
        "translates": (True, ["other"]),
        "has-its-own": (True, ()),
        "fails-before": (False, ()),
    }
    assert models["has-its-own"].answers == 1
    assert "too dark" in models["fails-before"].fault
    line = "       call      none: it calls other models ('other'), so it is loaded and not called\n"
    assert as_text(report).count(line) == 2


async def test_a_warm_up_that_calls_others_hides_no_fault_of_the_call(tmp_path: Path) -> None:
    config = STRICT_CONFIG + RANDOM.replace("some", "first") + RANDOM
    first = (
        "self.runs = getattr(self, 'runs', 0) + 1\n        if self.runs == 3: raise ValueError('too dark')"
    )
    source = ASKING.format(first=first, then="raise").encode()
    write_model(tmp_path, "fails", config, {"1/model.py": source})
    _, models = await checked(tmp_path)
    assert "too dark" in models["fails"].fault


@pytest.mark.long
async def test_streams_and_models_under_openai_s_api_get_a_call_that_they_take() -> None:
    _, chat = await checked(MODELS / "markov-chat")
    assert chat["markov-chat"].answers > 2
    assert chat["markov-chat"].predict == "it gives several answers"
    _, vectors = await checked(MODELS / "letter-grams")
    assert vectors["letter-grams"].predict.startswith("no output holds a score")
    assert vectors["letter-grams"].ok


@pytest.mark.long
async def test_a_model_that_refuses_zeros_names_what_it_takes_as_its_warm_up(tmp_path: Path) -> None:
    write_model(tmp_path, "strict", STRICT_CONFIG, {"1/model.py": STRICT})
    _, models = await checked(tmp_path / "strict")
    assert models["strict"].fault == (
        "the call with zeros failed: model 'strict': a zero is no measurement; "
        "model_warmup in config.pbtxt can name a request that fits"
    )
    write_model(tmp_path, "strict", STRICT_CONFIG + RANDOM, {"1/model.py": STRICT})
    _, models = await checked(tmp_path / "strict")
    assert models["strict"].ok
    assert models["strict"].called_with == "the warm-up 'some'"


@pytest.mark.long
async def test_a_fault_has_the_reason_that_a_pod_would_log(tmp_path: Path) -> None:
    fails = STRICT.replace('raise ValueError("a zero is no measurement")', 'self.weights["mean"]').replace(
        "pass", "self.weights = {}"
    )
    write_model(tmp_path, "fails", STRICT_CONFIG, {"1/model.py": fails})
    _, models = await checked(tmp_path / "fails")
    assert models["fails"].fault.startswith(
        "the call with zeros failed: model 'fails' failed on this request; KeyError: 'mean'"
    )


async def test_where_there_is_no_model_it_says_so(tmp_path: Path) -> None:
    report, _ = await checked(tmp_path)
    assert not report.ok
    assert "has no models, expected directories such as <model>/1" in as_text(report)
    with pytest.raises(HubError, match="is no directory"):
        await checked(tmp_path / "not-there")
