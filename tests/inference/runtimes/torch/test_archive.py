"""What a file is, by the names in its archive; no part of it is read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import pytest

from inferencehub.core.values.errors import HubError
from inferencehub.inference.runtimes.torch.archive import EXPECTED, check_exported, check_script

# As PyTorch 2.15 writes them, and the ExportedProgram of 2.7 and before.
EXPORTED = ["model/archive_format", "model/models/model.json", "model/data/weights/weight_0"]
OLD = ["version", "serialized_exported_program.json", "serialized_state_dict.pt"]
SCRIPT = ["net/constants.pkl", "net/data.pkl", "net/code/__torch__.py"]
WEIGHTS = ["weights/data.pkl", "weights/data/0"]


def archive(directory: Path, names: Sequence[str]) -> Path:
    with ZipFile(directory / "model.x", "w") as made:
        for name in names:
            made.writestr(name, "")
    return directory / "model.x"


def test_files_of_the_right_kind_pass(tmp_path: Path) -> None:
    for names in (EXPORTED, OLD):
        check_exported(archive(tmp_path, names), allow_pickle=False)
    check_script(archive(tmp_path, SCRIPT))


@pytest.mark.parametrize(
    ("names", "exported", "script"),
    [
        (SCRIPT, "model.x is TorchScript, whose file is called model.pt", ""),
        (EXPORTED, "", "model.x is an ExportedProgram, whose file is called model.pt2"),
        (
            WEIGHTS,
            f"model.x is no ExportedProgram, but holds what torch.save has pickled, such as weights alone: {EXPECTED}",
            f"model.x is no TorchScript, but holds what torch.save has pickled, such as weights alone: {EXPECTED}",
        ),
        (["a", "b"], f"model.x is no ExportedProgram: {EXPECTED}", f"model.x is no TorchScript: {EXPECTED}"),
        ([], f"model.x is no ExportedProgram: {EXPECTED}", f"model.x is no TorchScript: {EXPECTED}"),
        (
            [*EXPORTED, "model/data/aotinductor/model/wrapper.so"],
            "model.x has code that AOTInductor compiled for one kind of machine, expected the program itself, as "
            "torch.export.save writes it",
            "model.x is an ExportedProgram, whose file is called model.pt2",
        ),
    ],
)
def test_other_files_are_named(tmp_path: Path, names: list[str], exported: str, script: str) -> None:
    file = archive(tmp_path, names)
    for said, check in (
        (exported, partial(check_exported, file, False)),
        (script, partial(check_script, file)),
    ):
        if said:
            with pytest.raises(HubError) as caught:
                check()
            assert caught.value.detail == said


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    for content, why in ((b"", "File is not a zip file"), (b"no archive", "File is not a zip file")):
        (tmp_path / "model.pt").write_bytes(content)
        with pytest.raises(HubError) as caught:
            check_script(tmp_path / "model.pt")
        assert caught.value.detail == f"model.pt cannot be read, {why}: {EXPECTED}"


@pytest.mark.parametrize("name", ["opaque_obj_0", "Opaque_OBJ_0"])  # PyTorch finds both under either name
def test_objects_that_are_pickled_need_the_setting(tmp_path: Path, name: str) -> None:
    file = archive(tmp_path, [*EXPORTED, f"model/data/constants/{name}"])
    check_exported(file, allow_pickle=True)
    with pytest.raises(HubError) as caught:
        check_exported(file, allow_pickle=False)
    assert "HUB_ALLOW_PICKLE=true" in caught.value.detail
