"""The peers' environments."""

from __future__ import annotations

from bench.paths import REQUIREMENTS
from bench.servers.peer import ALL


def test_each_environment_is_pinned_to_exact_versions() -> None:
    for name in {peer.environment for peer in ALL} - {""}:
        lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
        assert lines, name
        assert all("==" in line for line in lines if not line.startswith("#")), name
