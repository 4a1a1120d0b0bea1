"""Both tiers as child processes on free ports, serving all of models/ and bench/models, logs and all as in production.

Access lines are written, and thrown away by the parent. With `pin`, both tiers share core 0 and whoever started them
keeps core 1, so that neither load nor luck takes a core from them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from bench.client import ask

ROOT = Path(__file__).resolve().parents[1]
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the tiers listen, and the processes: gateway, pod. One that somebody else runs is an address alone."""

    host: str
    port: int
    pod: str = ""
    children: tuple[subprocess.Popen[bytes], ...] = ()

    def cpu_seconds(self) -> list[float]:
        """What the gateway and the pod have used so far; nothing where that is not known."""
        try:
            stats = [Path(f"/proc/{child.pid}/stat").read_text() for child in self.children]
        except OSError:
            return []
        lines = [stat.rpartition(")")[2].split() for stat in stats]
        return [(int(line[11]) + int(line[12])) / os.sysconf("SC_CLK_TCK") for line in lines]

    async def until_ready(self, model: str) -> None:
        """Wait until the gateway can call a model.

        Raises:
            SystemExit: where that does not come.
        """
        ends = monotonic() + (START_S if self.children else 5.0)
        said = b"nobody listens"
        while monotonic() < ends and all(child.poll() is None for child in self.children):
            try:
                status, said = await ask(self.host, self.port, "GET", f"/v2/models/{model}/ready")
            except OSError:
                status = 0
            if status == 200:
                return
            await asyncio.sleep(0.1)
        raise SystemExit(f"model '{model}' is not ready at {self.host}:{self.port}: {said.decode()[:300]}")


def mock_config(delay_ms: float, slots: int) -> str:
    """The config of a model that waits."""
    return f"""backend: "mock"
        input {{ name: "features" data_type: TYPE_FP32 dims: [ -1 ] }}
        output {{ name: "class_id" data_type: TYPE_INT32 dims: [ 1 ] }}
        output {{ name: "confidence" data_type: TYPE_FP32 dims: [ 1 ] }}
        instance_group {{ count: {slots} }}
        parameters {{ key: "delay_ms" value: {{ string_value: "{delay_ms}" }} }}
        parameters {{ key: "predict_class" value: {{ string_value: "class_id" }} }}
        parameters {{ key: "predict_confidence" value: {{ string_value: "confidence" }} }}"""


def fill(repository: Path, more: Mapping[str, str]) -> None:
    """Link every model of the tree into a repository, and add models that are a config alone."""
    for directory in (*(ROOT / "models").iterdir(), *(ROOT / "bench" / "models").iterdir()):
        if (directory / "config.pbtxt").exists():
            (repository / directory.name).symlink_to(directory)
    for name, config in more.items():
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(config)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def pin_self(core: int) -> None:
    """Keep this process, and the children that it starts from now on, on one core."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        raise SystemExit("--pin needs Linux and two cores")
    os.sched_setaffinity(0, {core})


@contextmanager
def running_stack(more: Mapping[str, str] | None = None, pin: bool = False) -> Iterator[Stack]:
    """One gateway in front of one pod; `more` are configs of further models, by name."""
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as place:
        repository, log = Path(place, "models"), Path(place, "log")
        repository.mkdir()
        fill(repository, more or {})
        ports = [free_port() for _ in range(4)]
        pod = f"127.0.0.1:{ports[0]}"
        environs = {
            "gateway": {"PORT": str(ports[1]), "HUB_OPS_PORT": str(ports[2]), "GRPC_SERVER_URL": pod},
            "inference": {
                "PORT": str(ports[0]),
                "HUB_OPS_PORT": str(ports[3]),
                "HUB_MODELS": str(repository),
            },
        }
        children: list[subprocess.Popen[bytes]] = []
        try:
            if pin:
                pin_self(0)
            with log.open("wb") as errors:
                for tier, environ in environs.items():
                    children.append(start(tier, environ, errors.fileno()))
            if pin:
                pin_self(1)
            yield Stack("127.0.0.1", ports[1], pod, tuple(children))
        except SystemExit:
            sys.stderr.write(log.read_text()[-2000:])
            raise
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait(10)


def start(tier: str, environ: Mapping[str, str], errors: int) -> subprocess.Popen[bytes]:
    """A tier as a child process."""
    everything = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "services"),
        "HUB_DRAIN_WAIT_S": "0",
        "HUB_DRAIN_TIMEOUT_S": "1",
        **environ,
    }
    command = [sys.executable, "-m", f"inferencehub.{tier}"]
    return subprocess.Popen(command, env=everything, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)
