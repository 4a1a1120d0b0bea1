"""The gRPC experiments that the pod turns off still exist: a new version of gRPC may have removed them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.hub import ROOT

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("environ", "known"), [({}, True), ({"GRPC_EXPERIMENTS": "-no_such"}, False)])
def test_grpc_knows_the_experiments(environ: dict[str, str], known: bool) -> None:
    everything = {**os.environ, "PYTHONPATH": str(ROOT / "services"), "HUB_MODELS": "/nowhere", **environ}
    pod = subprocess.run(
        [sys.executable, "-m", "inferencehub.inference"], env=everything, capture_output=True, timeout=60
    )
    assert pod.returncode == 2, pod.stderr
    assert (b"Unknown experiment" not in pod.stderr) is known, pod.stderr
