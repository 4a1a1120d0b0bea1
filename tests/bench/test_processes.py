"""Groups: whatever a command forks is counted and ended with it."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from bench.peer import Peer, Site
from bench.processes import Command, Group, cpu_seconds
from bench.served import NotServing, Served, until_ready

FORKS = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN) if os.fork() == 0 else None
while time.process_time() < {busy}: pass
time.sleep(60)
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def group(tmp_path: Path, code: str) -> Group:
    return Group([Command([sys.executable, "-c", code])], tmp_path, tmp_path / "log", pin=False)


def test_children_are_members_and_their_cpu_counts(tmp_path: Path) -> None:
    running = group(tmp_path, FORKS.format(busy=0.4))
    try:
        ends = monotonic() + 20
        while monotonic() < ends and (len(running.members()) < 2 or running.cpu_seconds() < 0.75):
            sleep(0.05)
        assert len(running.members()) == 2
        assert running.cpu_seconds() >= 0.75
        own = cpu_seconds(running.children[0].pid)
        assert running.cpu_seconds() > own
        assert running.memory_mb() > 1
    finally:
        running.stop()


def test_a_child_that_ignores_the_signal_is_ended_too(tmp_path: Path) -> None:
    running = group(tmp_path, FORKS.format(busy=0))
    ends = monotonic() + 20
    while monotonic() < ends and len(running.members()) < 2:
        sleep(0.02)
    sleep(0.2)
    members = running.members()
    running.stop()
    ends = monotonic() + 5
    while monotonic() < ends and any(alive(pid) for pid in members):
        sleep(0.05)
    assert len(members) == 2
    assert not any(alive(pid) for pid in members)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_peer_that_ends_says_why(tmp_path: Path) -> None:
    running = group(tmp_path, "raise SystemExit('no such model')")
    peer = Peer("broken", lambda site: [], {})
    with pytest.raises(NotServing, match="no such model"):
        until_ready(Served(peer, Site(sys.executable, 1, 1, tmp_path), running))
    running.stop()
