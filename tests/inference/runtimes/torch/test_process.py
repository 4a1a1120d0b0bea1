"""PyTorch models in their processes: behind both tiers, beside files that are broken, and with a share of the cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.inference.runtimes.support.cpu_limit import cpu_limit
from tests.hub import running_hub, running_pod, write_model
from tests.inference.runtimes.tables import ROWS, loaded, source_of, version
from tests.inference.runtimes.torch.networks import Classifier, Pictures, export, script, torch

pytestmark = pytest.mark.heavy

FLOATS = ROWS.astype(np.float32)
FOUR = torch.zeros(2, 4)


def replaced(file: Path, name: str, content: bytes) -> bytes:
    """The archive of a file with another content of one member."""
    made = BytesIO()
    with ZipFile(file) as old, ZipFile(made, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member.endswith(name) else old.read(member))
    return made.getvalue()


def saved(value: Any) -> bytes:
    """What `torch.save` writes."""
    made = BytesIO()
    torch.save(value, made)
    return made.getvalue()


class Runs:
    """Makes a directory where it is unpickled."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.directory,)


async def test_a_pod_goes_on_without_files_that_are_broken(tmp_path: Path) -> None:
    good = tmp_path / "good.pt2"
    export(good, Classifier(), FOUR)
    script(tmp_path / "good.pt", torch.nn.Linear(4, 2), FOUR)
    content = good.read_bytes()
    runs = ((FOUR,), {"more": Runs(tmp_path / "was-run")})
    cases = {
        "cut": ("model.pt2", content[: len(content) // 2], "model.pt2 cannot be read, "),
        "weights": (
            "model.pt",
            saved(Classifier().state_dict()),
            "model.pt is no TorchScript, but holds what torch.save ",
        ),
        "whole": ("model.pt", saved(Classifier()), "model.pt is no TorchScript, but holds what torch.save "),
        "swapped": ("model.pt2", (tmp_path / "good.pt").read_bytes(), "model.pt2 is TorchScript, "),
        "no-graph": ("model.pt2", replaced(good, "models/model.json", b"{"), "model.pt2 cannot be loaded"),
        "no-code": ("model.pt", replaced(tmp_path / "good.pt", ".py", b"def"), "model.pt cannot be loaded"),
        "pickle": (
            "model.pt2",
            replaced(good, "sample_inputs/model.pt", saved(runs)),
            "model.pt2 holds pickled objects, and a pickle runs code when it is loaded: ",
        ),
    }
    for name, (file, broken, _) in cases.items():
        write_model(tmp_path / "models", name, "", {f"1/{file}": broken})
    write_model(tmp_path / "models", "good", "", {"1/model.pt2": content})
    gpu = "instance_group { kind: KIND_GPU gpus: [ 0 ] }"
    if not torch.cuda.is_available():
        write_model(tmp_path / "models", "gpu", gpu, {"1/model.pt2": content})
        cases["gpu"] = (
            "",
            b"",
            "config.pbtxt asks for a GPU (KIND_GPU), and PyTorch finds none here: expected ",
        )
    async with running_pod(tmp_path / "models") as pod:
        for name, (_, _, expected) in cases.items():
            model = pod.models.get(name)
            assert (model.serves, model.reason[: len(expected)]) == (False, expected)
        assert pod.models.serves("good")
    assert not (tmp_path / "was-run").exists()


async def test_pickled_objects_are_loaded_where_the_setting_allows_them(tmp_path: Path) -> None:
    file = version(tmp_path) / "model.pt2"
    export(file, Classifier(), FOUR)
    file.write_bytes(replaced(file, "sample_inputs/model.pt", saved(((Fraction(1, 2),), {}))))
    async with loaded(source_of(tmp_path, "model.pt2", allow_pickle=True)) as served:
        assert (await served(FLOATS))["label"].shape == (200, 1)
    with pytest.raises(HubError, match="holds pickled objects"):
        async with loaded(source_of(tmp_path, "model.pt2")):
            pass


async def test_a_call_that_is_refused_costs_only_itself(tmp_path: Path) -> None:
    script(version(tmp_path) / "model.pt", torch.nn.Linear(4, 2))
    config = """backend: "pytorch" input { name: "x" data_type: TYPE_FP32 dims: [ -1, -1 ] }
        output { name: "y" data_type: TYPE_FP32 dims: [ -1, 2 ] }"""
    async with loaded(source_of(tmp_path, "model.pt", config)) as served:
        with pytest.raises(HubError) as caught:
            await served(FLOATS[:3, :3])
        assert caught.value.kind is Kind.BAD_INPUT
        assert caught.value.detail.startswith("model 'm': ")
        assert "cannot be multiplied (3x3 and 4x2)" in caught.value.detail
        assert "\n" not in caught.value.detail
        assert (await served(FLOATS[:3]))["y"].shape == (3, 2)


class Wide(torch.nn.Module):  # type: ignore[misc]
    """A product that is large enough for all threads."""

    def forward(self, x: Any) -> Any:
        return x @ torch.ones(800, 800) @ torch.ones(800, 800)


@pytest.mark.skipif(cpu_limit() == 1, reason="one core has no threads to share out")
async def test_instances_share_the_cores(tmp_path: Path) -> None:
    export(version(tmp_path) / "model.pt2", Wide(), torch.zeros(800, 800))
    counts = []
    for instances in (1, 2):
        config = f"instance_group {{ count: {instances} }}"
        async with loaded(source_of(tmp_path, "model.pt2", config)) as served:
            await served(np.ones((800, 800), np.float32))
            process = served.runtime.instances[0].process  # type: ignore[attr-defined]
            counts.append(len(os.listdir(f"/proc/{process.pid}/task")))
    assert counts[0] > counts[1]


DECODER = """
from io import BytesIO

import numpy as np
from PIL import Image


class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"pixels": np.stack([pixels(file) for file in inputs["image"].ravel()])}


def pixels(file):
    try:
        picture = Image.open(BytesIO(file)).convert("RGB").resize((8, 8))
    except Image.DecompressionBombError as error:  # it has too many pixels
        raise ValueError(f"the picture cannot be read: {error}") from None
    except Exception:  # of a damaged file, Pillow raises many kinds
        raise ValueError("the picture cannot be read: it is damaged, or in no known format") from None
    return np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255
"""
DECODE = """backend: "python" max_batch_size: 8
    input { name: "image" data_type: TYPE_STRING dims: [ 1 ] }
    output { name: "pixels" data_type: TYPE_FP32 dims: [ 3, 8, 8 ] }"""
COLOURS = """platform: "pytorch_libtorch" max_batch_size: 8
    input { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }
    output { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }"""
BOTH = """platform: "ensemble" max_batch_size: 8
    input { name: "image" data_type: TYPE_STRING dims: [ 1 ] }
    output { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] }
    ensemble_scheduling {
      step { model_name: "decode" input_map { key: "image" value: "image" } output_map { key: "pixels" value: "pixels" } }
      step { model_name: "colours" input_map { key: "INPUT__0" value: "pixels" } output_map { key: "OUTPUT__0" value: "scores" } }
    }"""


async def test_models_behind_both_tiers(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="make test-heavy installs Pillow")
    models = tmp_path / "models"
    network = export(models / "table" / "1" / "model.pt2", Classifier(), FOUR)
    script(models / "colours" / "1" / "model.pt", Pictures(), torch.zeros(1, 3, 4, 4))
    write_model(models, "decode", DECODE, {"1/model.py": DECODER})
    write_model(models, "colours", COLOURS, {"labels.txt": "red\nblue\n"})
    write_model(models, "pictures", BOTH)
    async with running_hub(models) as hub:
        with torch.inference_mode():
            (expected,) = network(torch.from_numpy(FLOATS[3:4]))["probabilities"]
        status, answer, _ = await hub.post("/predict", {"model_name": "table", "features": ROWS[3].tolist()})
        assert (status, answer["class_id"], answer["error"]) == (200, int(expected.argmax()), "")
        assert answer["confidence"] == pytest.approx(float(expected.max()))
        made = BytesIO()
        image.new("RGB", (40, 30), (0, 0, 255)).save(made, "JPEG")
        status, answer, _ = await hub.post(
            "/v2/models/pictures/infer", made.getvalue(), headers={"content-type": "image/jpeg"}
        )
        assert status == 200, answer
        red, blue = answer["outputs"][0]["data"]
        assert blue > red
        assert red + blue == pytest.approx(1)
        status, answer, _ = await hub.post(
            "/v2/models/pictures/infer", b"none", headers={"content-type": "image/jpeg"}
        )
        assert (status, "the picture cannot be read" in answer["error"]) == (400, True)
