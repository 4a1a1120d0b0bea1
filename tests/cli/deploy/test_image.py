"""`inferencehub image`: the Dockerfile that it prints, and what docker gets. `tests/images` builds one."""

from __future__ import annotations

import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from inferencehub.cli.deploy.context import write_context
from inferencehub.cli.deploy.dockerfile import needs_of
from tests.cli.test_command import say_here
from tests.hub import write_model

OWN = 'backend: "python" parameters { key: "EXECUTION_ENV_PATH" value { string_value: "%s" } }'
INSIDE = OWN % "$$TRITON_MODEL_DIRECTORY/environment"
WITH_PACKAGES = {"1/model.py": "", "1/requirements.txt": "tokenizers"}
OURS = "/opt/venv/bin/python"


def printed(directory: Path, *more: str) -> list[str]:
    """The lines of the Dockerfile for a directory, those that go on joined."""
    code, out, err = say_here("image", str(directory), "--print", *more)
    assert (code, err) == (0, "")
    return [line for line in out.replace(" \\\n", "").splitlines() if not line.startswith("#")]


def refused(*arguments: str) -> str:
    """Why a command line is refused."""
    code, out, err = say_here("image", *arguments)
    assert (code, out) == (2, "")
    return err.partition("Error: ")[2].strip()


def test_models_without_packages_are_copied(tmp_path: Path) -> None:
    write_model(tmp_path, "plain", "", {"1/model.onnx": b""})
    expected = [
        "FROM ours:1",
        "USER 0",
        "RUN rm -rf /app/samples",
        "COPY models /models",
        "USER 65532:65532",
    ]
    assert printed(tmp_path, "--base", "ours:1") == expected
    assert printed(tmp_path / "plain", "--base", "ours:1") == expected


def test_packages_go_into_the_environment_that_the_config_names(tmp_path: Path) -> None:
    write_model(tmp_path, "a", 'backend: "python"', WITH_PACKAGES)
    write_model(tmp_path, "b", 'backend: "python"', {"1/model.py": "", "requirements.txt": ""})
    write_model(tmp_path, "c", INSIDE, WITH_PACKAGES)
    for name in ("d", "e"):
        write_model(tmp_path, name, OWN % "/opt/both", WITH_PACKAGES)
    write_model(tmp_path, "f", OWN % "/opt/of/the/base", {"1/model.py": ""})
    write_model(tmp_path, ".hidden", INSIDE, WITH_PACKAGES)
    lines = printed(tmp_path)
    assert lines[0] == "FROM inferencehub-inference:dev"
    files = [
        "a/1/requirements.txt",
        "b/requirements.txt",
        *[f"{name}/1/requirements.txt" for name in "cde"],
    ]
    assert lines[3:8] == [f"COPY models/{file} /models/{file}" for file in files]
    pip = "pip --python %s/bin/python install --no-cache-dir"
    assert lines[8:-2] == [
        f"RUN pip --python {OURS} freeze --all > /tmp/ours.txt && {pip % '/opt/venv'} --constraint /tmp/ours.txt "
        "-r /models/a/1/requirements.txt -r /models/b/requirements.txt && rm /tmp/ours.txt",
        f"RUN python3 -m venv --without-pip /models/c/environment && {pip % '/models/c/environment'} 'numpy>=1.26' "
        "-r /models/c/1/requirements.txt",
        f"RUN python3 -m venv --without-pip /opt/both && {pip % '/opt/both'} 'numpy>=1.26' "
        "-r /models/d/1/requirements.txt -r /models/e/1/requirements.txt",
    ]


def test_what_no_image_can_be_made_of_is_refused(tmp_path: Path) -> None:
    assert refused(str(tmp_path), "--print").startswith(f"'{tmp_path}' has no models, expected")
    model = tmp_path / "m"
    write_model(tmp_path, "m", INSIDE, {"1/model.py": ""})
    assert refused(str(model)) == "expected --tag NAME, or --print"
    assert "expected a requirements.txt beside its model.py" in refused(str(model), "--print")
    write_model(tmp_path, "m", OWN % "environment", WITH_PACKAGES)
    assert "EXECUTION_ENV_PATH is 'environment', expected an absolute path" in refused(str(model), "--print")
    write_model(tmp_path, "m", OWN % "/opt/a && b", WITH_PACKAGES)
    assert "the path '/opt/a && b', expected letters" in refused(str(model), "--print")
    write_model(tmp_path, "m", "max_batch: 3", WITH_PACKAGES)
    assert "model 'm': config.pbtxt cannot be read: " in refused(str(model), "--print")


def test_without_docker_there_is_a_sentence(tmp_path: Path) -> None:
    write_model(tmp_path, "m", "", {"1/model.onnx": b""})
    code, out, err = say_here("image", str(tmp_path), "-t", "mine:1", PATH=str(tmp_path))
    assert (code, out) == (1, "")
    assert err == "Error: docker cannot be run: No such file or directory; --print shows the Dockerfile\n"


def entries(directory: Path, to: str, environments: set[str]) -> dict[str, tarfile.TarInfo]:
    """What docker gets of a directory."""
    target = BytesIO()
    write_context(target, "FROM a\n", directory, Path(to), environments)
    target.seek(0)
    with tarfile.open(fileobj=target) as archive:
        text = archive.extractfile("Dockerfile")
        assert text is not None
        assert text.read() == b"FROM a\n"
        return {entry.name: entry for entry in archive if entry.name != "Dockerfile"}


def test_docker_gets_the_models_readable_for_all_and_no_environment_of_this_machine(tmp_path: Path) -> None:
    files = {"1/model.py": "", "1/__pycache__/a.pyc": "", "environment/bin/python": "", "1/run.sh": ""}
    write_model(tmp_path / "made", "m", INSIDE, files)
    (tmp_path / "elsewhere.bin").write_bytes(b"weights")
    made = tmp_path / "made" / "m" / "1"
    (made / "weights.bin").symlink_to(tmp_path / "elsewhere.bin")
    os.chmod(made / "run.sh", 0o700)
    os.chmod(made / "model.py", 0o600)
    found = entries(tmp_path / "made", "models", {"/models/m/environment"})
    assert sorted(found) == [
        "models",
        "models/m",
        "models/m/1",
        "models/m/1/model.py",
        "models/m/1/run.sh",
        "models/m/1/weights.bin",
        "models/m/config.pbtxt",
    ]
    assert (found["models/m/1/weights.bin"].isreg(), found["models/m/1/weights.bin"].size) == (True, 7)
    modes = [oct(found[f"models/m/1/{name}"].mode) for name in ("model.py", "run.sh")]
    assert modes == ["0o644", "0o755"]
    assert {entry.uid for entry in found.values()} == {0}


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, "m", "", {"1/model.onnx": b""})
    (tmp_path / "m" / "1" / "weights.bin").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="weights"):
        entries(tmp_path, "models", set())


def test_an_environment_is_known_however_its_path_is_written(tmp_path: Path) -> None:
    """Else what is there on this machine would lie over what the build made."""
    files = {"1/model.py": "", "1/requirements.txt": "six\n", "environment/bin/python": ""}
    write_model(tmp_path, "m", OWN % "$$TRITON_MODEL_DIRECTORY/./environment/", files)
    made = needs_of(tmp_path / "m").environment
    assert made == "/models/m/environment"
    assert not [name for name in entries(tmp_path, "models", {made}) if "environment" in name]
