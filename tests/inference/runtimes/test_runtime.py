"""The table of runtimes, and what is said where the library of one is missing."""

from __future__ import annotations

import tomllib
from pathlib import Path

from inferencehub.inference.runtimes.runtime import RUNTIMES, not_installed
from tests.hub import running_pod, write_model

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_each_extra_of_a_runtime_is_one_of_the_package() -> None:
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    named = {kind.extra for kind in RUNTIMES.values() if kind.extra}
    assert named <= extras.keys()
    locks = PROJECT.parent / "requirements" / "extras"
    assert named <= {lock.stem for lock in locks.iterdir()}


def test_a_missing_library_is_told_with_its_extra() -> None:
    missing = ModuleNotFoundError("No module named 'skops'")
    assert not_installed("sklearn", missing) == (
        "backend 'sklearn' is not installed here, No module named 'skops': install inferencehub[sklearn], or build the "
        "image with EXTRAS=sklearn"
    )
    assert not_installed("onnx", missing) == "backend 'onnx' is not installed here, No module named 'skops'"


async def test_a_pod_without_a_library_says_so(tmp_path: Path) -> None:
    write_model(tmp_path, "m", "", {"1/model.savedmodel/saved_model.pb": b""})
    async with running_pod(tmp_path) as pod:
        assert pod.models.get("m").reason == (
            "backend 'tensorflow' is not installed here, No module named 'tensorflow': install inferencehub[tensorflow], or "
            "build the image with EXTRAS=tensorflow"
        )
