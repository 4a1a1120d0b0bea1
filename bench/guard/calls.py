"""How many calls a request makes in both tiers: `python -m bench.guard.calls`. A count, so that no other work changes it.

One client asks one request after the other, as no batch forms then and the way is the same each time. What the tiers
do without being asked (heartbeats) is counted before and taken off.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep

from bench.guard.counted import EVERY_S
from bench.load.checker import asking
from bench.load.connection import ask
from bench.load.questions import predict
from bench.paths import MODELS, ROOT
from bench.servers.processes import Command, Group, free_port
from bench.servers.stack import tiers

WARM_UP, REQUESTS = 100, 1000
START_S, STILL_S = 60.0, 2.0


def counted(command: Command, file: Path) -> Command:
    """A tier's command, counting."""
    path = os.pathsep.join([command.environ["PYTHONPATH"], str(ROOT)])
    argv = [sys.executable, "-m", "bench.guard.counted", command.name, str(file)]
    return replace(command, argv=argv, environ={**command.environ, "PYTHONPATH": path})


def measure(requests: int = REQUESTS) -> float:
    """Calls a request, both tiers together.

    Raises:
        SystemExit: where the tiers do not serve, or answer wrongly.
    """
    with tempfile.TemporaryDirectory(prefix="hub-calls-") as folder:
        place = Path(folder)
        (place / "models").mkdir()
        (place / "models" / "three").symlink_to(MODELS / "three")
        port = free_port()
        commands = tiers(place / "models", (port,), (free_port(),))
        files = [place / command.name for command in commands]
        group = Group(
            [counted(command, file) for command, file in zip(commands, files, strict=True)],
            ROOT,
            place / "log",
            pin=False,
        )
        try:
            until_ready(port, group)
            asked(port, WARM_UP)
            still = calls(files)
            sleep(STILL_S)
            idle = (calls(files) - still) / (STILL_S + settle_s())
            before, began = calls(files), perf_counter()
            asked(port, requests)
            used = calls(files) - before
            return (used - idle * (perf_counter() - began)) / requests
        finally:
            group.stop()


def settle_s() -> float:
    """How long to wait until a count is written down for sure."""
    return 3 * EVERY_S


def calls(files: list[Path]) -> int:
    """All calls so far."""
    sleep(settle_s())
    return sum(int(file.read_text()) for file in files)


def until_ready(port: int, group: Group) -> None:
    """Wait until the model serves."""
    ends = perf_counter() + START_S
    while perf_counter() < ends and not group.ended():
        try:
            if asyncio.run(ask("127.0.0.1", port, "GET", "/v2/models/three/ready"))[0] == 200:
                return
        except OSError:
            pass
        sleep(0.1)
    raise SystemExit(f"the tiers did not become ready: {group.log.read_text()[-300:]}")


def asked(port: int, requests: int) -> None:
    """Ask one after the other."""
    with asking(port, predict("three")) as once:
        for _ in range(requests):
            if wrong := once():
                raise SystemExit(wrong)


if __name__ == "__main__":
    print(f"{measure():.1f} calls a request")
