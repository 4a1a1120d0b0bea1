"""The repository on disk: which models and versions are found, and why others are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencehub.core.values.errors import HubError
from inferencehub.inference.models.repository import Found, scan
from tests.hub import MODELS, mock_model, write_model

ONNX = 'backend: "onnxruntime"'


def versions(repository: Path, name: str = "m") -> list[str]:
    """The versions of a model that will be tried."""
    return [found.version for found in scan(repository) if found.name == name and found.source]


def only(repository: Path) -> Found:
    (found,) = scan(repository)
    return found


def test_the_examples_are_found() -> None:
    found = scan(MODELS)
    assert [(each.name, each.version, each.runtime) for each in found] == [
        ("digits", "1", "onnxruntime"),
        ("nearest-colour", "1", "python"),
        ("sentiment", "1", "sentiment"),
        ("v1-mock", "1", "mock"),
    ]
    source = found[0].source
    assert source is not None
    assert (source.directory, source.file) == (
        MODELS / "digits" / "1",
        MODELS / "digits" / "1" / "model.onnx",
    )
    assert [each.source.instances for each in found if each.source] == [1, 1, 2, 100]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", ["10"]),
        ("version_policy { latest { } }", ["10"]),
        ("version_policy { latest { num_versions: 2 } }", ["2", "10"]),
        ("version_policy { latest { num_versions: 9 } }", ["1", "2", "10"]),
        ("version_policy { all { } }", ["1", "2", "10"]),
        ("version_policy { specific { versions: [ 10, 1 ] } }", ["1", "10"]),
    ],
)
def test_the_policy_picks_versions_by_number(tmp_path: Path, policy: str, expected: list[str]) -> None:
    files = {f"{version}/model.onnx": b"" for version in ("1", "2", "10")}
    write_model(tmp_path, "m", f"{ONNX} {policy}", files)
    for no_version in ("v3", "3.1", "-1", "٣"):
        (tmp_path / "m" / no_version).mkdir()
    (tmp_path / "m" / "99").touch()
    assert versions(tmp_path) == expected


def test_a_version_without_its_file_does_not_hide_the_others(tmp_path: Path) -> None:
    write_model(
        tmp_path, "m", f"{ONNX} version_policy {{ all {{ }} }}", {"1/model.onnx": b"", "2/readme": b""}
    )
    assert versions(tmp_path) == ["1"]
    assert [found.reason for found in scan(tmp_path)] == ["", "'2/model.onnx' is not there"]


@pytest.mark.parametrize(
    ("config", "file", "runtime"),
    [
        ("", "model.onnx", "onnx"),
        ("", "model.py", "python"),
        ('platform: "onnxruntime_onnx"', "model.onnx", "onnxruntime_onnx"),
        ('backend: "onnxruntime" default_model_filename: "other.onnx"', "other.onnx", "onnxruntime"),
        ('backend: "python" default_model_filename: "main.py"', "main.py", "python"),
    ],
)
def test_the_runtime_is_named_or_guessed_by_the_file(
    tmp_path: Path, config: str, file: str, runtime: str
) -> None:
    write_model(tmp_path, "m", config, {f"1/{file}": b""})
    found = only(tmp_path)
    assert (found.runtime, found.reason) == (runtime, "")
    assert found.source is not None
    assert found.source.file == tmp_path / "m" / "1" / file


def test_a_model_needs_no_config(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").touch()
    assert versions(tmp_path) == ["1"]


@pytest.mark.parametrize(
    ("config", "file", "reason"),
    [
        (
            "",
            "1/model.bin",
            "config.pbtxt names no backend and no version directory has a model.onnx or model.py",
        ),
        (ONNX, "1/model.bin", "'1/model.onnx' is not there"),
        (ONNX, "model.onnx", "'1/model.onnx' is not there"),
        (
            'backend: "tensorflow"',
            "1/model.onnx",
            "backend 'tensorflow' is unknown, expected one of mock, sentiment, onnx, onnxruntime, onnxruntime_onnx, python",
        ),
        (
            "ensemble_scheduling { }",
            "1/model.onnx",
            "config.pbtxt sets 'ensemble_scheduling', which is not supported",
        ),
        (
            f"{ONNX} version_policy {{ specific {{ versions: [ 1, 3 ] }} }}",
            "1/model.onnx",
            "version_policy names version 3, which has no directory",
        ),
    ],
)
def test_why_a_model_cannot_be_tried(tmp_path: Path, config: str, file: str, reason: str) -> None:
    write_model(tmp_path, "m", config, {file: b""})
    found = only(tmp_path)
    assert (found.name, found.source, found.reason) == ("m", None, reason)


def test_a_model_without_a_version_directory(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.pbtxt").write_text(ONNX)
    assert only(tmp_path).reason == "model 'm' has no version directory (a whole number, such as '1')"


def test_broken_neighbours_keep_their_reasons_and_no_path(tmp_path: Path) -> None:
    mock_model(tmp_path, "good")
    mock_model(tmp_path, "latin")
    (tmp_path / "latin" / "config.pbtxt").write_bytes(b'backend: "mock" # caf\xe9')
    (tmp_path / "folder" / "1").mkdir(parents=True)
    (tmp_path / "folder" / "config.pbtxt").mkdir()
    write_model(tmp_path, "typo", "backnd: 1")
    for no_model in (".git", "__pycache__"):
        (tmp_path / no_model).mkdir()
    (tmp_path / "README").touch()
    reasons = {found.name: found.reason for found in scan(tmp_path)}
    assert reasons.pop("typo").startswith("config.pbtxt cannot be read: 1:1")
    assert reasons == {
        "good": "",
        "latin": "config.pbtxt cannot be read: it is not UTF-8",
        "folder": "'config.pbtxt' cannot be read: Is a directory",
    }


def test_a_repository_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="is no directory"):
        scan(tmp_path / "none")
