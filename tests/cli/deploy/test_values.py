"""`inferencehub values`: the chart takes what it prints, and its example is a request with that answer."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.test_command import say_here
from tests.hub import MODELS, ROOT, mock_model, running_hub, write_model
from tests.programs import HELM, on_path

CHART = ROOT / "charts/inferencehub"
pytestmark = pytest.mark.long


def printed(directory: Path) -> tuple[str, dict[str, Any]]:
    """What it prints for a directory, also as values."""
    code, out, err = say_here("values", str(directory))
    assert (code, err) == (0, "")
    return out, yaml.safe_load(out)


async def test_the_chart_takes_them_and_the_example_has_that_class(tmp_path: Path) -> None:
    from tests.chart.rendering import render

    for name in ("digits", "sentiment"):
        (tmp_path / name).symlink_to(MODELS / name)
    _, values = await asyncio.to_thread(printed, tmp_path)
    assert values["inference"]["requiredModels"] == ["digits", "sentiment"]
    resources = values["inference"]["resources"]
    least, most = (int(resources[kind]["memory"].removesuffix("Mi")) for kind in ("requests", "limits"))
    assert 64 <= least <= 512
    assert most == least + 256
    pods = [
        one
        for one in render(values)
        if one["kind"] == "Deployment" and "inference" in one["metadata"]["name"]
    ]
    [container] = [
        one for one in pods[-1]["spec"]["template"]["spec"]["containers"] if one["name"] == "inference"
    ]
    assert container["resources"] == resources
    async with running_hub(tmp_path) as hub:
        status, answer, _ = await hub.post("/predict", values["example"]["body"].encode())
    assert (status, answer["class_id"]) == (200, values["example"]["classId"])


def test_a_model_that_predict_cannot_use_and_one_that_is_broken(tmp_path: Path) -> None:
    (tmp_path / "markov-chat").symlink_to(MODELS / "markov-chat")
    out, values = printed(tmp_path)
    assert "`helm test` fails" in out
    assert values["example"]["classId"] is None
    write_model(tmp_path, "broken", "max_batch: 3")
    code, out, err = say_here("values", str(tmp_path))
    assert (code, out) == (1, "")
    assert "inferencehub: model 'broken': it does not load: " in err


def test_a_model_that_calls_others_is_there_and_not_measured(tmp_path: Path) -> None:
    config = """backend: "python" input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }
        output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }"""
    source = b"""
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs, context):
        return context.call_sync("other", inputs)
"""
    write_model(tmp_path, "asks", config, {"1/model.py": source})
    code, out, _ = say_here("values", str(tmp_path))
    assert code == 0
    assert yaml.safe_load(out)["inference"]["requiredModels"] == ["asks"]
    assert "# not measured, because they call other models: asks\n" in out
    assert "needs the most" not in out


@pytest.mark.tools
def test_helm_renders_a_release_with_them(tmp_path: Path) -> None:
    mock_model(tmp_path / "models", "it's")
    _, values = printed(tmp_path / "models")
    assert json.loads(values["example"]["body"])["model_name"] == "it's"
    (tmp_path / "values.yaml").write_text(printed(tmp_path / "models")[0])
    given = ("--kube-version", "1.34", "--values", str(tmp_path / "values.yaml"))
    command = [on_path(HELM), "template", "hub", str(CHART), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
