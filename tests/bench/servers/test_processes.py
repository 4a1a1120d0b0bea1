"""Process groups: all processes that a command forks are counted, stopped, continued and ended with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from bench.paths import ROOT
from bench.servers.proc import cpu_seconds
from bench.servers.processes import Command, Group
from tests.bench.servers.processes_seen import alive, states

FORKS = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN) if os.fork() == 0 else None
while time.process_time() < {busy}: pass
time.sleep(60)
"""
SPINS = """
import os, time
os.fork() or (os.setsid(), os.fork())
while True: pass
"""
STARTS_AND_WAITS = """
import signal, sys, time
from pathlib import Path
from bench.servers.processes import Command, Group
group = Group([Command([sys.executable, "-c", {code!r}])], Path("."), Path(sys.argv[1]), pin=False)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
while len(group.members()) < 3: time.sleep(0.02)
group.pause()
print(*group.members(), flush=True)
time.sleep(60)
"""
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc"),
    pytest.mark.long,
]


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
    ends = monotonic() + 30
    while monotonic() < ends and any(alive(pid) for pid in members):
        sleep(0.05)
    assert len(members) == 2
    assert not any(alive(pid) for pid in members)


def test_a_group_stands_still_with_all_that_it_forked_and_goes_on(tmp_path: Path) -> None:
    running = group(tmp_path, SPINS)
    try:
        ends = monotonic() + 20
        while monotonic() < ends and len(running.members()) < 3:
            sleep(0.02)
        running.pause()
        assert states(running.members()) == "TTT"
        used = running.cpu_seconds()
        sleep(0.3)
        assert running.cpu_seconds() == used
        running.resume()
        ends = monotonic() + 20
        while monotonic() < ends and running.cpu_seconds() < used + 0.1:
            sleep(0.02)
        assert running.cpu_seconds() >= used + 0.1
        running.pause()
        members = running.members()
    finally:
        running.stop()
    ends = monotonic() + 30
    while monotonic() < ends and any(alive(pid) for pid in members):
        sleep(0.05)
    assert not any(alive(pid) for pid in members)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nobody_is_left_standing_where_the_bench_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    code = STARTS_AND_WAITS.format(code=SPINS)
    argv = [sys.executable, "-c", code, str(tmp_path / "log")]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as starter:
        assert starter.stdout is not None
        members = [int(word) for word in starter.stdout.readline().split()]
        assert states(members) == "TTT"
        starter.send_signal(number)
    ends = monotonic() + 30
    while monotonic() < ends and any(alive(pid) for pid in members):
        sleep(0.05)
    assert not any(alive(pid) for pid in members)
