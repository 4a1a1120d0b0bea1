"""Which models a pod serves: those that were given, or else the samples, which it says."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from inferencehub.core.process.settings import SettingError
from inferencehub.inference.settings import InferenceSettings
from tests.hub import MODELS, ROOT, mock_model


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_samples_are_served_only_where_no_models_are_given(place: Path) -> None:
    samples, own = str(MODELS), place.parent / "own"
    mock_model(own, "mine")
    nothing_given = InferenceSettings(samples=samples)
    assert (nothing_given.repository(), nothing_given.serves_samples()) == (MODELS, True)
    given = InferenceSettings(models=str(own), samples=samples)
    assert (given.repository(), given.serves_samples()) == (own, False)
    mock_model(place / "models", "mine")
    assert (nothing_given.repository(), nothing_given.serves_samples()) == (Path("models"), False)
    beside = InferenceSettings(samples="models")  # as `make run` has it
    assert (beside.repository(), beside.serves_samples()) == (Path("models"), True)


def test_an_empty_directory_was_given_so_the_samples_do_not_replace_it(place: Path) -> None:
    (place / "models").mkdir()
    settings = InferenceSettings(samples=str(MODELS))
    assert (settings.repository(), settings.serves_samples()) == (Path("models"), False)


def test_a_directory_that_was_named_and_is_not_there_is_an_error(place: Path) -> None:
    (place / "file").write_text("")
    for name in ("none", "file"):
        with pytest.raises(SettingError, match=f"there is no model repository at '{name}'; HUB_MODELS names"):
            InferenceSettings(models=name, samples=str(MODELS)).repository()
    with pytest.raises(
        SettingError, match="there is no model repository at 'models' or '/models'; HUB_MODELS"
    ):
        InferenceSettings().repository()


async def first_lines(environ: Mapping[str, str], place: Path, until: str = '"listening"') -> str:
    """What a pod logs until a line has `until`."""
    fixed = {"PYTHONPATH": str(ROOT / "services"), "PORT": "0", "HUB_OPS_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inferencehub.inference",
        env={**os.environ, **fixed, **environ}, cwd=place, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    said = ""
    async with asyncio.timeout(60):
        while until not in said:
            line = await process.stderr.readline()
            assert line, said
            said += line.decode()
    process.kill()
    await process.wait()
    return said


async def test_a_pod_says_that_it_serves_the_samples(place: Path) -> None:
    said = await first_lines({"HUB_SAMPLES": str(MODELS)}, place)
    assert "no models were given: serving the samples" in said
    assert f'"models":"{MODELS}"' in said
    mock_model(place / "models", "mine")
    assert "samples" not in await first_lines({"HUB_SAMPLES": str(MODELS)}, place)
    for child in (place / "models").iterdir():
        child.rename(place / child.name)
    said = await first_lines({"HUB_SAMPLES": str(MODELS)}, place, "no models in the repository")
    assert f'"directory":"{place / "models"}"' in said
