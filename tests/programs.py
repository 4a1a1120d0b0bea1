"""Programs that `make test-tools` needs, and `make test` does not."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HELM = "helm: https://helm.sh/docs/intro/install"
CURL = "curl: apt-get install curl, or https://curl.se/download.html"
GO = "go: https://go.dev/doc/install"
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
# axe-core as a package has it; Playwright, for which that package is made, is not needed.
AXE = "axe-playwright-python==0.1.8 --hash=sha256:fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8"
PROMETHEUS = "prometheus: apt-get install prometheus, or https://prometheus.io/download"
PROMTOOL = "promtool: it comes with Prometheus, https://prometheus.io/download"
CHROMIUM = (
    "chromium: apt-get install chromium, or https://www.chromium.org/getting-involved/download-chromium"
)


def on_path(tool: str) -> str:
    """The path of a program, told as "name: where to get it"; without it the test fails, it does not skip."""
    name, _, source = tool.partition(": ")
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not on PATH; install it: {source}", pytrace=False)
    return found


def grpcurl() -> str:
    """The path of grpcurl."""
    return built_by_go(GRPCURL)


def versitygw() -> str:
    """The path of versitygw, a server of the S3 protocol that keeps objects as files."""
    return built_by_go(VERSITYGW)


def built_by_go(module: str) -> str:
    """The path of a program, which Go builds once for this environment, out of `module@version`."""
    go, directory = on_path(GO), Path(sys.prefix) / "go"
    package, _, version = module.rpartition("@")
    program = directory / version / package.rpartition("/")[2]
    if not program.exists():
        environ = {**os.environ, "GOBIN": str(program.parent), "CGO_ENABLED": "0"}
        done = subprocess.run(
            [go, "install", module], env=environ, cwd=sys.prefix, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return str(program)


def axe() -> str:
    """The script of axe-core, which looks at a page for what keeps people out; pip fetches it once for this environment."""
    directory = Path(sys.prefix) / "axe"
    script = directory / "axe_playwright_python" / "axe.min.js"
    if not script.exists():
        directory.mkdir(exist_ok=True)
        wanted = directory / "wanted.txt"
        wanted.write_text(AXE)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--no-compile",
        ]
        command = [*pip, "--target", str(directory), "--requirement", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return script.read_text()


def triton_server() -> list[str]:
    """The command in TRITON_SERVER, to which a model repository, an HTTP port and a gRPC port are added."""
    command = os.environ.get("TRITON_SERVER")
    if not command:
        pytest.fail(
            "TRITON_SERVER is not set; set it to a command that runs a Triton Inference Server on the arguments "
            "MODEL_REPOSITORY HTTP_PORT GRPC_PORT, for example a script around the package nvidia-pytriton",
            pytrace=False,
        )
    return shlex.split(command)
