"""What a container uses, out of both versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencehub.core.process.resources.container import Container

VERSION_2 = {
    "cgroup.controllers": "cpu memory\n",
    "memory.current": "1000\n",
    "memory.max": "4000\n",
    "memory.stat": "anon 700\ninactive_file 250\n",
    "cpu.stat": "usage_usec 2500000\nnr_throttled 3\nthrottled_usec 500000\n",
}
VERSION_1 = {
    "memory/memory.usage_in_bytes": "1000\n",
    "memory/memory.limit_in_bytes": "4000\n",
    "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 250\n",
    "cpuacct/cpuacct.usage": "2500000000\n",
    "cpu/cpu.stat": "nr_periods 0\nthrottled_time 500000000\n",
}
P = "inferencehub_container_"


def shown(folder: Path, files: dict[str, str]) -> dict[str, float]:
    """The samples where these files are."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    families = Container(folder).collect()
    return {sample.name.removeprefix(P): sample.value for family in families for sample in family.samples}


@pytest.mark.parametrize("files", [VERSION_1, VERSION_2])
def test_it_shows_memory_and_cpu_with_their_limits(tmp_path: Path, files: dict[str, str]) -> None:
    assert shown(tmp_path, files) == {
        "memory_bytes": 750,
        "memory_limit_bytes": 4000,
        "cpu_seconds_total": 2.5,
        "cpu_throttled_seconds_total": 0.5,
    }


@pytest.mark.parametrize(
    "files",
    [
        VERSION_1 | {"memory/memory.limit_in_bytes": "9223372036854771712\n"},
        VERSION_2 | {"memory.max": "max\n"},
    ],
)
def test_it_shows_no_limit_where_there_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    assert "memory_limit_bytes" not in shown(tmp_path, files)


def test_it_shows_nothing_without_control_groups(tmp_path: Path) -> None:
    assert shown(tmp_path, {}) == {}
