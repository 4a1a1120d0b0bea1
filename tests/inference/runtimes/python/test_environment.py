"""The environment of a Python model's process: an allow-list, without the service's settings and keys."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from inferencehub.inference.runtimes.python.environment import ModelEnvironment
from tests.hub import write_model
from tests.inference.pod_processes import calling_pod
from tests.inference.runtimes.python.acting_model import ACTOR, CONFIG, asked
from tests.written import request_to_proto

USUAL = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "TZ": "UTC",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TMPDIR": "/tmp",
    "LD_LIBRARY_PATH": "/lib",
    "CUDA_VISIBLE_DEVICES": "0",
    "NVIDIA_DRIVER_CAPABILITIES": "all",
    "OMP_PROC_BIND": "true",
    "HTTP_PROXY": "http://proxy:1",
    "https_proxy": "http://proxy:2",
    "No_Proxy": "",
    "no_proxy": "localhost",
}
OWN = {"HUB_POOL": "a", "HUB_API_KEYS": "secret", "HUB_KEY_FILE": "/k", "PORT": "1", "GRPC_SERVER_URL": "a:1"}
KEYS = {
    "TLS_KEY_FILE": "/k",
    "API_KEYS_FILE": "/k",
    "SSL_KEYFILE": "/k",
    "SSLKEYLOGFILE": "/k",
    "tls_key_file": "/k",
}
OTHER = {"AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "r", "HF_TOKEN": "t", "PYTHONSTARTUP": "/x"}
ENVIRON = {**USUAL, **OWN, **KEYS, **OTHER}


def further(*names: str) -> dict[str, str]:
    """What passes of `ENVIRON` that is not always there."""
    taken = ModelEnvironment(names, 2, "/sources").taken_from(ENVIRON)
    made = {
        "PYTHONPATH": "/sources",
        **dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "2"
        ),
        **dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "TF_CPP_MIN_LOG_LEVEL"), "2"),
    }
    usual = {name: value for name, value in USUAL.items() if name != "No_Proxy"}
    assert made.items() | usual.items() <= taken.items()
    return {name: value for name, value in taken.items() if name not in made and name not in usual}


def test_only_what_is_named_passes() -> None:
    assert further() == {}
    assert further("AWS_REGION", "NOWHERE") == {"AWS_REGION": "r"}
    assert further("AWS_*", "HF_TOKEN") == {"AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "r", "HF_TOKEN": "t"}


@pytest.mark.parametrize("names", [("*",), ("HUB_*", "*KEY*", "*"), tuple(ENVIRON)])
def test_settings_and_files_of_keys_never_pass(names: tuple[str, ...]) -> None:
    assert not further(*names).keys() & {*KEYS, *(name for name in OWN if name.startswith("HUB_"))}
    assert OTHER.items() <= further(*names).items()


def test_numbers_of_threads_and_paths_of_the_service_are_kept() -> None:
    taken = ModelEnvironment((), 2, "/sources").taken_from({"MKL_NUM_THREADS": "7", "PYTHONPATH": "/mine"})
    assert (taken["MKL_NUM_THREADS"], taken["OMP_NUM_THREADS"]) == ("7", "2")
    assert taken["PYTHONPATH"] == f"/sources{os.pathsep}/mine"


async def test_a_model_sees_what_the_setting_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**OWN, **OTHER, "no_proxy": "elsewhere"}.items():
        monkeypatch.setenv(name, value)
    write_model(tmp_path, "m", CONFIG % "TYPE_STRING", {"1/model.py": ACTOR})
    request = request_to_proto(asked("gives [json.dumps(dict(os.environ))]"))
    async with calling_pod(tmp_path, model_env=("AWS_*", "HUB_*")) as pod:
        (answer,) = (await pod.infer(request)).raw_output_contents
    seen = json.loads(answer[4:])
    assert {name: seen[name] for name in ("AWS_REGION", "AWS_SECRET_ACCESS_KEY", "no_proxy")} == {
        "AWS_REGION": "r",
        "AWS_SECRET_ACCESS_KEY": "s",
        "no_proxy": "elsewhere",
    }
    assert seen["PATH"] == os.environ["PATH"]
    assert not seen.keys() & {*OWN, "HF_TOKEN", "PYTHONSTARTUP"}
