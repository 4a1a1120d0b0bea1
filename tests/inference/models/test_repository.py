"""The repository on disk: which models and versions are found, and why others are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inferencehub.core.values.errors import HubError
from inferencehub.inference.models.control.poll import trees_of
from inferencehub.inference.models.repository import Found, scan
from tests.hub import MODELS, mock_model, running_pod, write_model
from tests.inference.models.control.valued import index
from tests.inference.pod_processes import calling_pod

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
        ("letter-grams", "1", "python"),
        ("markov-chat", "1", "python"),
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
    assert [each.source.instances for each in found if each.source] == [1, 1, 1, 1, 2, 100]


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
    assert [found.reason for found in scan(tmp_path)] == ["", "'2/model.onnx' is not there, only 'readme'"]


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


@pytest.mark.parametrize("config", ["", 'platform: "tensorflow_savedmodel"', 'backend: "tensorflow"'])
def test_a_model_file_may_be_a_directory(tmp_path: Path, config: str) -> None:
    write_model(tmp_path, "m", config, {"1/model.savedmodel/saved_model.pb": b""})
    source = only(tmp_path).source
    assert source is not None
    assert source.file == tmp_path / "m" / "1" / "model.savedmodel"


POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 12345\n"
)
PULL = "is a Git LFS pointer, not the file itself: run git lfs pull where it was cloned"


@pytest.mark.parametrize("file", ["1/model.onnx", "1/model.py", "config.pbtxt"])
def test_a_git_lfs_pointer_is_named(tmp_path: Path, file: str) -> None:
    write_model(tmp_path, "m", "", {"1/model.onnx": b"", file: POINTER})
    if file == "1/model.py":
        (tmp_path / "m" / "1" / "model.onnx").unlink()
    found = only(tmp_path)
    assert (found.source, found.reason) == (None, f"'{file}' {PULL}")


@pytest.mark.parametrize(
    ("file", "content", "rest"),
    [
        ("model.py", "class Model:\n    def __init__(self, directory, parameters):\n        int(open(directory / 'deep/weights').read()[:3])\n", "model.py cannot be loaded, line 3: "),
        ("model.onnx", "garbled", "model.onnx cannot be loaded: "),
    ],
)  # fmt: skip
async def test_a_pointer_beside_the_model_file_is_named_where_loading_fails(
    tmp_path: Path, file: str, content: str, rest: str
) -> None:
    config = """input { name: "x" data_type: TYPE_FP32 dims: 1 } output { name: "y" data_type: TYPE_FP32 dims: 1 }"""
    write_model(tmp_path, "m", config, {f"1/{file}": content, "1/deep/weights": POINTER})
    async with running_pod(tmp_path) as pod:
        assert pod.models.get("m").reason.startswith(f"'deep/weights' {PULL}; {rest}")


def test_what_a_file_system_or_a_tool_makes_is_no_model(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick")
    for name in ("lost+found", ".git", ".ipynb_checkpoints", "..data", "__pycache__"):
        (tmp_path / name / "1").mkdir(parents=True)
    assert [found.name for found in scan(tmp_path)] == ["quick"]


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
            "config.pbtxt names no backend and no version directory has a model.joblib or model.json or model.onnx or model.pkl or model.pt or model.pt2 or model.py or model.savedmodel or model.skops or model.txt or model.ubj",
        ),
        (ONNX, "1/model.bin", "'1/model.onnx' is not there, only 'model.bin'"),
        (
            'platform: "pytorch_libtorch"',
            "1/resnet.pt",
            "'1/model.pt2' or '1/model.pt' is not there, only 'resnet.pt'",
        ),
        (
            'platform: "pytorch_libtorch" default_model_filename: "net.pt"',
            "1/resnet.pt",
            "'1/net.pt' is not there, only 'resnet.pt'",
        ),
        (ONNX, "model.onnx", "'1/model.onnx' is not there"),
        (
            'backend: "tensorrt"',
            "1/model.onnx",
            "backend 'tensorrt' is unknown, expected one of mock, sentiment, onnx, onnxruntime, onnxruntime_onnx, python, ensemble, sklearn, lightgbm, xgboost, tensorflow, tensorflow_savedmodel, pytorch, pytorch_libtorch, torch",
        ),
        (
            "ensemble_scheduling { }",
            "1/model.onnx",
            "config.pbtxt sets 'ensemble_scheduling', expected platform: \"ensemble\" with it",
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


def test_names_that_no_message_can_have_are_no_models(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick")
    (tmp_path / os.fsdecode(b"bad-\xff") / "1").mkdir(parents=True)
    assert [found.name for found in scan(tmp_path)] == ["quick"]
    assert list(trees_of(tmp_path)) == ["quick"]


async def test_files_whose_names_are_not_utf_8_are_shown(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick")
    write_model(tmp_path, "m", ONNX, {os.fsdecode(b"1/bad-\xff.txt"): b""})
    write_model(tmp_path, "p", "", {"1/model.onnx": b"garbled", os.fsdecode(b"1/bad-\xff"): POINTER})
    async with calling_pod(tmp_path) as pod:
        ((_, reason),) = (await index(pod, "m")).values()
        assert reason == "'1/model.onnx' is not there, only 'bad-\\udcff.txt'"
        ((_, reason),) = (await index(pod, "p")).values()
        assert reason.startswith(f"'bad-\\udcff' {PULL}")


def test_a_link_that_cannot_be_followed_hides_no_model(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick")
    for directory in (tmp_path, tmp_path / "quick"):
        (directory / "2").symlink_to("x" * 300)  # longer than a name may be
    assert [found.name for found in scan(tmp_path) if not found.reason] == ["quick"]
    assert list(trees_of(tmp_path)) == ["quick"]
