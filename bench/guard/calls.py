"""Counts the function calls of a request in each tier, with 1 client and with 64: `python -m bench.guard.calls`.

Other work on the machine does not change a count. One client sends one request after the other, so there are no batches
and each request takes the same path. With 64 clients, requests share messages and runs, as under load; h2load sends
them, all with the same head. Calls that the tiers make without requests (heartbeats) are counted before and subtracted.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

from bench.guard.counted import EVERY_S
from bench.load.checker import asking
from bench.load.connection import ask
from bench.load.h2load import ask_times
from bench.load.questions import predict
from bench.paths import MODELS, ROOT
from bench.servers.processes import Command, Group, free_port
from bench.servers.stack import tiers

CLIENTS = {1: 1000, 64: 6400}  # how many ask side by side: how many requests in all
ROUNDS = 3  # of which the median counts
WARM_UP = 5  # times fewer requests before
START_S, STILL_S = 60.0, 2.0
SETTLE_S = 3 * EVERY_S  # until a count is written down for sure


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of Python functions, and of C functions from Python, for each request in each tier."""

    gateway: float
    inference: float

    @property
    def both(self) -> float:
        """In both tiers together."""
        return round(self.gateway + self.inference, 1)


def measure(clients: Sequence[int] = tuple(CLIENTS)) -> dict[int, Calls]:
    """Calls for each request, by the number of clients.

    Raises:
        SystemExit: if the tiers do not serve, or an answer is wrong.
    """
    with counting_tiers() as (port, files):
        asked(port, 1, CLIENTS[1] // WARM_UP)
        still = counts(files)
        began = perf_counter()
        sleep(STILL_S)
        idle = [
            (now - then) / (perf_counter() - began) for now, then in zip(counts(files), still, strict=True)
        ]
        return {
            count: middle([one_round(port, files, count, idle) for _ in range(ROUNDS)]) for count in clients
        }


def middle(rounds: Sequence[Calls]) -> Calls:
    """The median of the rounds, tier by tier."""
    return Calls(median(one.gateway for one in rounds), median(one.inference for one in rounds))


def one_round(port: int, files: Sequence[Path], clients: int, idle: Sequence[float]) -> Calls:
    """After a warm-up; `idle` are the calls a second that each tier makes without being asked."""
    asked(port, clients, CLIENTS[clients] // WARM_UP)
    before, began = counts(files), perf_counter()
    asked(port, clients, CLIENTS[clients])
    after, seconds = counts(files), perf_counter() - began
    used = [now - then - each * seconds for now, then, each in zip(after, before, idle, strict=True)]
    return Calls(*(round(calls / CLIENTS[clients], 1) for calls in used))


@contextmanager
def counting_tiers() -> Iterator[tuple[int, list[Path]]]:
    """Run one gateway and one pod that count their calls; yields the gateway's port and both files with counts."""
    with tempfile.TemporaryDirectory(prefix="hub-calls-") as folder:
        place = Path(folder)
        (place / "models").mkdir()
        (place / "models" / "three").symlink_to(MODELS / "three")
        port = free_port()
        commands = tiers(place / "models", (port,), (free_port(),))
        files = [place / command.name for command in commands]
        counting = [counted(command, file) for command, file in zip(commands, files, strict=True)]
        group = Group(counting, ROOT, place / "log", pin=False)
        try:
            until_ready(port, group)
            yield port, files
        finally:
            group.stop()


def counted(command: Command, file: Path) -> Command:
    """A tier's command, counting."""
    path = os.pathsep.join([command.environ["PYTHONPATH"], str(ROOT)])
    argv = [sys.executable, "-m", "bench.guard.counted", command.name, str(file)]
    return replace(command, argv=argv, environ={**command.environ, "PYTHONPATH": path})


def counts(files: Sequence[Path]) -> list[int]:
    """All calls so far, by tier."""
    sleep(SETTLE_S)
    return [int(file.read_text()) for file in files]


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


def asked(port: int, clients: int, requests: int) -> None:
    """Send requests. One client checks every answer; h2load checks every status."""
    if clients > 1:
        ask_times(port, predict("three")[0], clients, requests)
        return
    with asking(port, predict("three")) as once:
        for _ in range(requests):
            if wrong := once():
                raise SystemExit(wrong)


if __name__ == "__main__":
    for count, calls in measure().items():
        print(
            f"{count:3} clients: {calls.both:.1f} calls a request, {calls.gateway:.1f} of them in the gateway"
        )
