"""Groups of processes that serve together. CPU time and memory are summed over all processes that they fork.

A peer may fork workers, and a worker may leave its parent. So the members are searched each time: all descendants of
the commands, and all processes in a session that one of them began. Groups can be paused (SIGSTOP) while other peers
are measured. Paused processes cannot end by themselves. If this process dies, a watcher (watch.py) ends them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import randrange
from time import monotonic, sleep
from typing import IO

from bench.paths import ROOT
from bench.servers.proc import cpu_seconds, family, memory_mb, signal_all, stats

SERVERS, LOAD = 0, 1  # the cores
STOP_S = 10.0
STILL, GONE = "Tt", "ZX"  # states in /proc/PID/stat


@dataclass(frozen=True, slots=True)
class Command:
    """One process to start: its arguments, what its environment has beyond ours, the cores that it must keep to."""

    argv: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    cores: Sequence[int] = ()


class Group:
    """Commands that run together."""

    def __init__(self, commands: Sequence[Command], cwd: Path, log: Path, pin: bool) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.children: list[subprocess.Popen[bytes]] = []
        with log.open("wb") as errors:
            for command in commands:
                with on_cores(command.cores or ([SERVERS] if pin else [])):
                    self.children.append(start(command, cwd, errors))
        self.watcher = watcher([child.pid for child in self.children])

    def members(self) -> list[int]:
        """All that belong to it now, by process id."""
        return sorted(family({child.pid for child in self.children}))

    def pause(self) -> None:
        """Make all of them stand still, those too that are forked meanwhile."""
        ends = monotonic() + STOP_S
        while (moving := self.moving()) and monotonic() < ends:
            signal_all(moving, signal.SIGSTOP)
            sleep(0.001)

    def resume(self) -> None:
        """Let them go on; children first, so that no parent finds one that does not answer."""
        signal_all(self.members()[::-1], signal.SIGCONT)

    def moving(self) -> list[int]:
        """The members that do not stand still."""
        members = set(self.members())
        return [pid for pid, fields in stats() if pid in members and fields[0] not in STILL + GONE]

    def cpu_seconds(self) -> float:
        """What all of them have used so far, those that have ended and been waited for too."""
        return sum(cpu_seconds(pid) for pid in self.members())

    def memory_mb(self) -> float:
        """Their memory in MB (10^6 bytes); a page that several share counts once, shared out over them."""
        return sum(memory_mb(pid, "Pss") for pid in self.members())

    def ended(self) -> bool:
        """Whether one of the commands has ended."""
        return any(child.poll() is not None for child in self.children)

    def stop(self) -> None:
        """End all of them, the hard way where they do not go."""
        members = self.members()
        for child in self.children:
            child.terminate()
        signal_all(members, signal.SIGCONT)
        ends = monotonic() + STOP_S
        for child in self.children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.1, ends - monotonic()))
        signal_all({*members, *self.members()} & {pid for pid, _ in stats()}, signal.SIGKILL)
        for child in self.children:
            child.wait()
        self.watcher.kill()
        self.watcher.communicate()


def watcher(pids: Sequence[int]) -> subprocess.Popen[bytes]:
    """A process that ends these and their families as soon as this one is gone, however that comes about."""
    argv = [sys.executable, "-m", "bench.servers.watch", *map(str, pids)]
    return subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True)


def start(command: Command, cwd: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """A process in a session of its own, so that what it leaves behind can be found."""
    return subprocess.Popen(
        command.argv,
        env={**os.environ, **command.environ},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )


def free_port() -> int:
    """A port on which nobody listens. It lies below those that the system gives to clients and for port 0."""
    while True:
        port = randrange(10_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def can_pin() -> bool:
    """Whether servers and load can have a core each."""
    return hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > LOAD


@contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Whoever is started meanwhile stays on these cores; none leaves everything as it is."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
