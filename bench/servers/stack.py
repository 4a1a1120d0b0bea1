"""Both tiers as child processes on free ports, serving all of models/ and bench/models, logs and all as in production.

Access lines are written, and the parent discards them. With `pin`, both tiers share core 0, and the process that
started them keeps core 1, so the load cannot take CPU time from the tiers.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from bench.load.connection import ask
from bench.paths import MODELS, ROOT
from bench.servers.proc import cpu_seconds
from bench.servers.processes import LOAD, Command, Group, can_pin, free_port

START_S = 60.0


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the gateways and the pods listen, and the processes, gateways first; somebody else's is an address alone."""

    host: str
    ports: tuple[int, ...]
    pod: str = ""
    children: tuple[subprocess.Popen[bytes], ...] = ()

    @property
    def port(self) -> int:
        """The first gateway's."""
        return self.ports[0]

    def cpu_seconds(self) -> list[float]:
        """What each process has used so far."""
        return [cpu_seconds(child.pid) for child in self.children]

    async def until_ready(self, model: str) -> None:
        """Wait until every gateway can call a model.

        Raises:
            SystemExit: where that does not come.
        """
        ends = monotonic() + (START_S if self.children else 5.0)
        for port in self.ports:
            said = b"nobody listens"
            while True:
                try:
                    status, said = await ask(self.host, port, "GET", f"/v2/models/{model}/ready")
                except OSError:
                    status = 0
                if status == 200:
                    break
                if monotonic() > ends or any(child.poll() is not None for child in self.children):
                    raise SystemExit(
                        f"model '{model}' is not ready at {self.host}:{port}: {said.decode()[:300]}"
                    )
                await asyncio.sleep(0.1)


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
    for directory in (*(ROOT / "models").iterdir(), *MODELS.iterdir()):
        link = repository / directory.name
        if (directory / "config.pbtxt").exists() and not link.exists():
            link.symlink_to(directory)
    for name, config in more.items():
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(config)


def pin_self(core: int) -> None:
    """Keep this process, and the children that it starts from now on, on one core."""
    if not can_pin():
        raise SystemExit("pinning needs Linux and two cores")
    os.sched_setaffinity(0, {core})


GRPC_PORT = Path("services/inferencehub/gateway/grpc_api")  # a gateway with it has a port for gRPC


def tier(name: str, environ: Mapping[str, str], tree: Path = ROOT) -> Command:
    """A tier as a command, on an ops port of its own; `tree` is the checkout whose code runs."""
    everything = {
        "PYTHONPATH": str(tree / "services"),
        "HUB_OPS_PORT": str(free_port()),
        "HUB_DRAIN_WAIT_S": "0",
        "HUB_DRAIN_TIMEOUT_S": "1",
        **environ,
    }
    if (tree / GRPC_PORT).is_dir() and name == "gateway":  # an older checkout would refuse the setting
        everything.setdefault("HUB_GRPC_PORT", str(free_port()))
    return Command([sys.executable, "-m", f"inferencehub.{name}"], everything, name)


def tiers(
    repository: Path,
    ports: tuple[int, ...],
    pods: tuple[int, ...],
    tree: Path = ROOT,
    fronts: tuple[int, ...] = (),
) -> list[Command]:
    """Gateways on `ports`, each in front of all `pods`; `fronts` are their ports for gRPC, any free ones if empty."""
    targets = ",".join(f"127.0.0.1:{port}" for port in pods)
    own = [{"HUB_GRPC_PORT": str(port)} for port in fronts] or [{} for _ in ports]
    gateways = [
        tier("gateway", {"PORT": str(port), "GRPC_SERVER_URL": targets, **more}, tree)
        for port, more in zip(ports, own, strict=True)
    ]
    models = str(repository)
    return [*gateways, *[tier("inference", {"PORT": str(port), "HUB_MODELS": models}, tree) for port in pods]]


@contextmanager
def running_stack(
    more: Mapping[str, str] | None = None,
    pin: bool = False,
    pods: int = 1,
    gateways: int = 1,
    tree: Path = ROOT,
) -> Iterator[Stack]:
    """Gateways in front of pods; `more` are configs of further models, by name; `tree` has the code that runs."""
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as place:
        repository, log = Path(place, "models"), Path(place, "log")
        repository.mkdir()
        fill(repository, more or {})
        ports = tuple(free_port() for _ in range(gateways))
        targets = tuple(free_port() for _ in range(pods))
        if pin:
            pin_self(LOAD)
        group = Group(tiers(repository, ports, targets, tree), tree, log, pin)
        try:
            yield Stack("127.0.0.1", ports, f"127.0.0.1:{targets[0]}", tuple(group.children))
        except SystemExit:
            sys.stderr.write(log.read_text()[-2000:])
            raise
        finally:
            group.stop()
