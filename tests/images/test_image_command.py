"""`inferencehub image` with a real docker: what it builds serves, and models find the packages that they ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.request import Request

import pytest

from tests.images.test_images import (
    DIRECT,
    NAME,
    ROOT,
    SAYS_SAMPLES,
    docker,
    inside,
    logs,
    running_pair,
    served,
)

pytestmark = pytest.mark.images


def say_version(repository: Path, name: str, package: str, config: str = "") -> None:
    """A model that answers with the version that it finds of a package of its requirements."""
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(
        f'backend: "python" {config} input {{ name: "x" data_type: TYPE_FP32 dims: [1] }} '
        'output { name: "y" data_type: TYPE_STRING dims: [1] }'
    )
    (repository / name / "1" / "requirements.txt").write_text(package)
    (repository / name / "1" / "model.py").write_text(
        "from importlib.metadata import version\n"
        "class Model:\n"
        "    def __init__(self, directory, parameters): pass\n"
        f"    def predict(self, inputs): return {{'y': [version('{package.partition('=')[0]}')]}}\n"
    )


def built(directory: Path) -> subprocess.CompletedProcess[str]:
    """`inferencehub image` of a directory."""
    command = [sys.executable, "-m", "inferencehub", "image", str(directory), "-t", f"{NAME}-own", "--"]
    options = os.environ.get("DOCKER_BUILD_ARGS", "").split()
    env = {**os.environ, "PYTHONPATH": str(ROOT / "services")}
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=500, env=env)


def test_inferencehub_image_installs_what_each_model_asks_for(tmp_path: Path) -> None:
    own = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/own" } }'
    say_version(tmp_path, "ours", "iniconfig==2.1.0")
    say_version(tmp_path, "own", "iniconfig==2.0.0", own)
    done = built(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        assert inside(f"{NAME}-own", "ls", "/app") == "bin\ninferencehub"
        with running_pair(f"{NAME}-own") as (address, _, inference):
            assert served(address) == ["ours", "own"]
            for name, version in (("ours", "2.1.0"), ("own", "2.0.0")):
                body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
                request = Request(f"http://{address}/v2/models/{name}/infer", json.dumps(body).encode())
                with DIRECT.open(request, timeout=30) as answer:
                    assert json.load(answer)["outputs"][0]["data"] == [version]
            assert SAYS_SAMPLES not in logs(inference)
    finally:
        docker("image", "rm", "--force", f"{NAME}-own")


def test_inferencehub_image_takes_nothing_from_the_service(tmp_path: Path) -> None:
    say_version(tmp_path, "old", "protobuf==5.29.5")
    done = built(tmp_path)
    assert done.returncode == 1
    assert "protobuf==5.29.5" in done.stdout + done.stderr
    assert "constraint" in done.stdout + done.stderr
