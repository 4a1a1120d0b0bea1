"""What a Python model's process has of the service's secrets: nothing in its environment, its open files or its memory."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inferencehub.core.auth.key_file import digest, new_key
from tests.authority import Authority, Secret, client
from tests.hub import Process, write_model
from tests.inference.runtimes.python.acting_model import ACTOR, CONFIG
from tests.ports import free_port

KEY = new_key("caller")
# Of the platform: what a user adds to a pod for something else than the model.
BESIDE = {
    "DATABASE_PASSWORD": "open-sesame-7391",
    "SSLKEYLOGFILE": "/nowhere/keys-5512.log",
    "GRPC_SERVER_URL": "elsewhere:1",
}
REPORT = """gives [json.dumps({
    "pid": os.getpid(), "environ": dict(os.environ), "block": Path("/proc/self/environ").read_text(), "argv": sys.orig_argv,
    "files": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")},
})]"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_model(tmp_path / "models", "m", CONFIG % "TYPE_STRING", {"1/model.py": ACTOR})
    return tmp_path / "models"


def settings(secret: dict[str, Any]) -> dict[str, str]:
    """Files of certificates, as the environment names them."""
    return {f"HUB_{name.upper()}": file for name, file in secret.items()}


def asked(text: str) -> dict[str, Any]:
    """A call of the model that does what its input says."""
    return {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]},
            {"name": "do", "datatype": "BYTES", "shape": [1], "data": [text]},
        ]
    }


def memory(pid: int) -> Iterator[bytes]:
    """What stands in a process's memory, except what is mapped from files and cannot be written."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            begin, end, mode = re.match(r"(\w+)-(\w+) (\S+)", line).groups()  # type: ignore[union-attr]
            if mode.startswith("rw"):
                mem.seek(int(begin, 16))
                yield mem.read(int(end, 16) - int(begin, 16))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("passed", ["", "*"])
async def test_a_model_has_no_secret_of_the_service(tmp_path: Path, models: Path, passed: str) -> None:
    authority = Authority(tmp_path, "authority")
    front, back = Secret(tmp_path / "front"), Secret(tmp_path / "back")
    front.hold(*authority.signed("gateway"), authority)
    back.hold(*authority.signed("inference"), authority)
    keys = tmp_path / "keys-8240.json"
    keys.write_text(json.dumps({"keys": [{"id": "caller", "sha256": digest(KEY.encode()).hex()}]}))
    pod_environ = {
        **settings(back.tier_settings),
        "HUB_MODELS": str(models),
        "HUB_HEALTH_PORT": str(free_port()),
        "HUB_MODEL_ENV": passed,
        **BESIDE,
    }
    async with Process("inference", **pod_environ) as pod:
        gateway_environ = {
            **settings(front.tier_settings),
            **settings(front.settings),
            "GRPC_SERVER_URL": pod.address,
            "HUB_API_KEYS": str(keys),
        }
        async with (
            Process("gateway", **gateway_environ) as gateway,
            aiohttp.ClientSession() as session,
            session.post(
                f"https://localhost:{gateway.port}/v2/models/m/infer",
                json=asked(REPORT),
                headers={"authorization": f"Bearer {KEY}"},
                ssl=client(authority.certificate.read_text()),
            ) as answer,
        ):
            assert answer.status == 200, await answer.text()
            (output,) = (await answer.json())["outputs"]
        seen = json.loads(output["data"][0])
        names = {entry.partition("=")[0] for entry in seen["block"].split("\0") if entry}
        assert names <= seen["environ"].keys(), "its environment is what it was started with"
        assert not {name for name in names if name.startswith("HUB_")}
        assert ("DATABASE_PASSWORD" in names) is (passed == "*"), "only a variable that is named passes"
        assert "SSLKEYLOGFILE" not in names
        secret_texts = [str(front.directory), str(back.directory), str(keys), KEY, BESIDE["SSLKEYLOGFILE"]]
        if not passed:
            secret_texts.append(BESIDE["DATABASE_PASSWORD"])
        for text in secret_texts:
            assert text not in seen["block"]
            assert text not in str(seen["argv"])
        files = seen["files"]
        lines = files["2"]  # what it logs and prints goes to the service, not to the service's own log
        assert lines.startswith("pipe:")
        channel = files[seen["argv"][-2]]
        assert channel.startswith("socket:")
        assert set(files.values()) == {"/dev/null", lines, channel}, files
        assert list(files.values()).count(channel) == 1
        key = (back.directory / "tls.key").read_text()
        line = key.splitlines()[1].encode()
        needles = [line, base64.b64decode(line)[-16:], *map(str.encode, secret_texts)]
        held = [needle for part in memory(seen["pid"]) for needle in needles if needle in part]
        assert not held
