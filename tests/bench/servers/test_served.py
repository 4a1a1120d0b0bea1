"""Peers that serve: a peer that ends says why, and only the peer under test runs."""

from __future__ import annotations

import sys
from pathlib import Path
from time import sleep

import pytest

from bench.load.jobs import JOBS
from bench.servers.peer import BY_NAME, Peer, Site
from bench.servers.processes import Command, Group
from bench.servers.served import NotServing, Served, serving, until_ready
from tests.bench.servers.processes_seen import states

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc"),
    pytest.mark.long,
]


def test_a_peer_that_ends_says_why(tmp_path: Path) -> None:
    code = "raise SystemExit('no such model')"
    running = Group([Command([sys.executable, "-c", code])], tmp_path, tmp_path / "log", pin=False)
    peer = Peer("broken", lambda site: [], {})
    with pytest.raises(NotServing, match="no such model"):
        until_ready(Served(peer, Site(sys.executable, 1, 1, 1, tmp_path), running))
    running.stop()


def test_only_the_peer_that_is_asked_runs_and_it_answers_at_once() -> None:
    absent: dict[str, str] = {}
    peers = [BY_NAME[name] for name in ("ours", "echo")]
    with serving(peers, JOBS[:1], False, absent, lambda _: None) as running:
        assert not absent
        ours, echo = (served.group for served in running)
        sleep(2.5)  # longer than two heartbeats
        for _ in range(2):
            with running[0].alone():
                assert set(states(echo.members())) == {"T"}
                assert "T" not in states(ours.members())
                assert ours.children[0].poll() is None
            assert set(states(ours.members())) == {"T"}
    assert states([child.pid for child in (*ours.children, *echo.children)]) == ""
