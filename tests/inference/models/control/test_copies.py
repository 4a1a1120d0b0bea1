"""What is copied of a model version, and what becomes of copies that a killed process has left."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from inferencehub.inference.models.control.copies import Copies
from inferencehub.inference.models.repository import read
from tests.hub import ROOT, write_model

CONFIG = 'backend: "python"'


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """The directory of temporary files."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    yield tmp_path / "tmp"
    tempfile.tempdir = before


def test_a_copy_has_the_version_and_what_its_versions_share(tmp_path: Path, temporary: Path) -> None:
    files = {
        "1/model.py": "one", "2/model.py": "two", "2/data/words.txt": "a b", "2/__pycache__/model.pyc": "",
        "labels.txt": "cat", "environment/pyvenv.cfg": "", "environment/lib/large.py": "",
    }  # fmt: skip
    write_model(tmp_path / "models", "m", CONFIG, files)
    (found,) = read(tmp_path / "models" / "m")
    copies = Copies()
    copied = copies.of(found)
    assert copied.source is not None
    assert copied.source.original == tmp_path / "models" / "m"
    model = copied.source.directory.parent
    there = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert there == {"config.pbtxt", "labels.txt", "2/model.py", "2/data/words.txt"}
    assert copied.source.file.read_text() == "two"
    copies.drop(copied)
    assert not model.exists()
    copies.drop(found)
    assert (tmp_path / "models" / "m" / "2" / "model.py").exists(), "only copies are dropped"
    copies.close()
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(("filename", "copied"), [("{0}/away.py", False), ("../shared/model.py", True)])
def test_a_model_file_of_another_directory_is_found(
    tmp_path: Path, temporary: Path, filename: str, copied: bool
) -> None:
    config = f'{CONFIG} default_model_filename: "{filename.format(tmp_path)}"'
    write_model(tmp_path / "models", "m", config, {"1/labels.txt": "cat", "shared/model.py": "shared"})
    (tmp_path / "away.py").write_text("away")
    (found,) = read(tmp_path / "models" / "m")
    copies = Copies()
    made = copies.of(found).source
    assert made is not None
    assert made.file.read_text() == ("shared" if copied else "away")
    assert made.file.is_relative_to(copies.root) == copied
    copies.close()


def test_what_cannot_be_copied_whole_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    write_model(tmp_path / "models", "m", CONFIG, {"1/model.py": "one"})
    (tmp_path / "models" / "m" / "1" / "away").symlink_to("nowhere")
    (found,) = read(tmp_path / "models" / "m")
    copies = Copies()
    with pytest.raises(FileNotFoundError):
        copies.of(found)
    assert not [path for path in copies.root.iterdir() if path.is_dir()]
    copies.close()


def test_copies_of_a_killed_process_are_removed_and_those_of_a_living_one_are_not(temporary: Path) -> None:
    program = "import os; from inferencehub.inference.models.control.copies import Copies; copies = Copies(); os._exit(9)"
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT / "services")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    (left,) = temporary.iterdir()
    living = Copies()
    assert not left.exists()
    other = Copies()
    assert living.root.exists()
    living.close()
    other.close()
