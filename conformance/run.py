"""Runs the clients, each in its own environment, and collects what they report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.paths import REQUIREMENTS, ROOT
from bench.servers.environment import NotInstalled, python_of, versions
from conformance.clients.report import Target

OWN = ROOT / "conformance" / "requirements"  # beside REQUIREMENTS, those that the bench has as well
CLIENT_S = 300.0


@dataclass(frozen=True)
class Client:
    """A client program, which may stand for several clients of one package.

    Args:
        name: as it stands in the table; what it reports begins with it.
        package: whose version is shown.
        module: the program, in conformance/clients.
        requirements: the lock of its environment.
        libraries: folders of shared libraries in that environment, which the client does not find by itself.
    """

    name: str
    package: str
    module: str
    requirements: Path
    libraries: tuple[str, ...] = ()


CLIENTS = (
    Client("tritonclient", "tritonclient", "triton_client", OWN / "tritonclient.txt"),
    Client("mlserver", "mlserver", "mlserver_client", REQUIREMENTS / "mlserver.txt"),
    Client("kserve", "kserve", "kserve_client", REQUIREMENTS / "kserve.txt"),
    Client("pytriton", "nvidia-pytriton", "pytriton_client", REQUIREMENTS / "triton.txt"),
    Client(
        "perf_analyzer",
        "tritonclient",
        "perf_analyzer_client",
        OWN / "perf_analyzer.txt",
        ("lib/*/site-packages/nvidia/*/lib",),
    ),
)


@dataclass(frozen=True)
class Line:
    """One call of a client, as report.py writes it."""

    client: str
    transport: str
    tier: str
    call: str
    case: str
    result: str
    detail: str
    answer: object
    seconds: float = 0.0


@dataclass
class Found:
    """What the clients found, with their versions, and why some could not be run."""

    lines: list[Line] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


def install(clients: Sequence[Client], found: Found) -> dict[Client, Path]:
    """The Python of each client's environment, made where it is missing; versions, and what is absent, go to `found`."""
    pythons = {}
    for client in clients:
        try:
            pythons[client] = python_of(client.requirements)
        except NotInstalled as error:
            found.absent[client.name] = str(error)
            continue
        found.versions[client.name] = versions(pythons[client], (client.package,)).get(client.package, "")
    return pythons


def ask(clients: Mapping[Client, Path], plan: Path, targets: Sequence[Target], found: Found) -> None:
    """Run the clients, one after the other, on all servers; what they report goes to `found`."""
    for client, python in clients.items():
        found.lines += lines_of(client, python, plan, targets)


def lines_of(client: Client, python: Path, plan: Path, targets: Sequence[Target]) -> Iterator[Line]:
    """What one client reports; a program that ends badly is a call that failed."""
    folders = [str(folder) for pattern in client.libraries for folder in python.parents[1].glob(pattern)]
    argv = [str(python), "-m", f"conformance.clients.{client.module}", str(plan)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": ":".join(folders)}
    try:
        done = subprocess.run(
            [*argv, json.dumps([asdict(target) for target in targets])],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLIENT_S,
            check=False,
        )
        out, ended = (
            done.stdout,
            f"it ended with {done.returncode}: {done.stderr[-500:]}" if done.returncode else "",
        )
    except subprocess.TimeoutExpired as error:
        out, ended = (error.stdout or b"").decode(), f"it took more than {CLIENT_S:g} s"
    for line in out.splitlines():
        yield Line(**json.loads(line))
    if ended:
        sys.stderr.write(ended)
        yield Line(client.name, "", "", "the whole program", client.module, "failed", ended, None)
