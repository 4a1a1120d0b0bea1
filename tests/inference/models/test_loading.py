"""A model serves as soon as it is loaded, whatever its neighbours in the pod do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.hub import eventually, mock_model, write_model
from tests.inference.pod_processes import Pod, calling_pod, features

SLOW = """
import time
from pathlib import Path

class Model:
    def __init__(self, directory, parameters):
        (directory / "begun").touch()
        while not (directory / "go").exists():
            time.sleep(0.01)

    def predict(self, inputs):
        return {"y": inputs["x"]}
"""
CONFIG = """backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [1] }
output { name: "y" data_type: TYPE_FP32 dims: [1] }"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A quick model, and one that loads until the file `slow/1/go` is there."""
    mock_model(tmp_path, "quick")
    write_model(tmp_path, "slow", CONFIG, {"1/model.py": SLOW})
    return tmp_path


@asynccontextmanager
async def loading_pod(models: Path, **settings: Any) -> AsyncIterator[Pod]:
    """A pod whose quick model is loaded, and whose slow one is being loaded."""
    async with calling_pod(models, waits=False, **settings) as pod:
        await eventually(
            lambda: (models / "slow" / "1" / "begun").exists() and pod.server.models.serves("quick")
        )
        yield pod


async def states(pod: Pod) -> dict[str, bool]:
    """What the health service says."""
    names = ("quick", "slow", "", "probe/ready", "probe/started", "probe/open")
    return {name: await pod.health(name) for name in names}


@pytest.mark.parametrize(
    ("settings", "ready"),
    [({}, False), ({"ready_after": "first"}, True), ({"required_models": ("quick",)}, True),
     ({"required_models": ("slow",)}, False)],
)  # fmt: skip
async def test_a_model_serves_while_its_neighbour_is_loaded(
    models: Path, settings: dict[str, Any], ready: bool
) -> None:
    async with loading_pod(models, **settings) as pod:
        assert await states(pod) == {
            "quick": True,
            "slow": False,
            "probe/started": True,
            "probe/open": True,
            "": ready,
            "probe/ready": ready,
        }
        assert (await pod.infer(features("quick", 1))).model_name == "quick"
        slow = features("quick", 1)
        slow.model_name = "slow"
        assert await pod.refusal(slow) == ("UNAVAILABLE", "model 'slow' does not serve: it is still loading")
        assert (await pod.refusal(features("nobody", 1)))[0] == "NOT_FOUND", "all models are known"
        (models / "slow" / "1" / "go").touch()
        await pod.server.loaded()
        assert all((await states(pod)).values())


async def test_a_drain_closes_the_pod_and_all_its_models(models: Path) -> None:
    (models / "slow" / "1" / "go").touch()
    async with calling_pod(models) as pod:
        await pod.server.drain()
        assert await states(pod) == {
            "quick": False,
            "slow": False,
            "": False,
            "probe/ready": False,
            "probe/started": True,
            "probe/open": False,
        }
