"""Programs that `make test-tools` needs, and `make test` does not."""

from __future__ import annotations

import os
import shlex
import shutil

import pytest

HELM = "helm: https://helm.sh/docs/intro/install"
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
