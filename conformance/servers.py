"""The servers of a run: our two tiers and, where TRITON_SERVER names a program that runs one, Triton."""

from __future__ import annotations

import shlex
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from bench.paths import ROOT, TRITON
from bench.servers.processes import Command, Group, free_port
from bench.servers.stack import tiers
from conformance.clients.report import Target

START_S = 180.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # asks no proxy of the environment


@contextmanager
def running(models: Path, names: Sequence[str], place: Path, triton: bool) -> Iterator[list[Target]]:
    """A gateway in front of one pod, and Triton if wanted, once they can be called.

    Args:
        models: a folder for each runtime; Triton serves that of `python` alone, for its build has no other backend.
        names: the models to wait for.
        place: a folder for the servers' files and logs.
        triton: whether to start one.

    Raises:
        SystemExit: where a server does not become ready.
    """
    everything = place / "models"
    for folder in models.iterdir():
        shutil.copytree(folder, everything, dirs_exist_ok=True)
    http, pod = free_port(), free_port()
    commands = tiers(everything, (http,), (pod,))
    front = commands[0].environ["HUB_GRPC_PORT"]
    targets = [
        Target("gateway", f"127.0.0.1:{http}", f"127.0.0.1:{front}", ["python", "onnx"]),
        Target("pod", "", f"127.0.0.1:{pod}", ["python", "onnx"]),
    ]
    groups = [Group(commands, ROOT, place / "tiers.log", pin=False)]
    try:
        if triton:
            command, target = triton_of(models / "python", place / "trace.json")
            targets.append(target)
            groups.append(Group([command], ROOT, place / "triton.log", pin=False))
        for target, group in zip([targets[0], *targets[2:]], groups, strict=True):
            until_ready(target, [name for name in names if serves(target, models, name)], group)
        yield targets
    finally:
        for group in groups:
            group.stop()


def triton_of(repository: Path, trace: Path) -> tuple[Command, Target]:
    """A Triton whose models may be loaded and unloaded, and whose tracing may be changed."""
    http, front = free_port(), free_port()
    options = ["--metrics-port", free_port(), "--model-control-mode=explicit", "--load-model=*"]
    # Beside other Tritons: memory of a name of its own. Models that load together were seen to crash it on a busy machine.
    options += [
        f"--backend-config=python,shm-region-prefix-name=conformance-{front}-",
        "--model-load-thread-count=1",
    ]
    options += ["--trace-config", f"triton,file={trace}", "--trace-config", "level=OFF"]
    argv = [*shlex.split(TRITON), *map(str, [repository, http, front, *options])]
    return Command(argv, {}, "triton"), Target(
        "triton", f"127.0.0.1:{http}", f"127.0.0.1:{front}", ["python"]
    )


def serves(target: Target, models: Path, name: str) -> bool:
    """Whether a server has a model."""
    return any((models / runtime / name).is_dir() for runtime in target.runtimes)


def until_ready(target: Target, names: Sequence[str], group: Group) -> None:
    """Wait until all these models can be called."""
    ends, waiting = monotonic() + START_S, list(names)
    while waiting:
        with suppress(OSError, urllib.error.URLError):
            DIRECT.open(f"http://{target.http}/v2/models/{waiting[-1]}/ready", timeout=5).close()
            waiting.pop()
            continue
        if monotonic() > ends or group.ended():
            said = group.log.read_text(errors="replace")[-3000:]
            raise SystemExit(f"{said}\nthe {target.tier} does not serve {waiting[-1]}")
        sleep(0.1)
