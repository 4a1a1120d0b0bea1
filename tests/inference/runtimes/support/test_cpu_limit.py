"""The CPU limit of a container, from both versions of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inferencehub.inference.runtimes.support.cpu_limit import cpu_limit, quota


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    return directory


def old(limit: int, period: int = 100_000) -> dict[str, str]:
    return {"cpu/cpu.cfs_quota_us": f"{limit}\n", "cpu/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 0),
        ({"cpu.max": "max 100000\n"}, 0),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": ""}, 0),
        (old(-1), 0),
        (old(250_000), 2.5),
        (old(25_000, 50_000), 0.5),
    ],
)
def test_a_limit_in_cores(tmp_path: Path, files: dict[str, str], expected: float) -> None:
    assert quota(write(tmp_path, files)) == expected


def test_the_smaller_of_limit_and_affinity_counts(tmp_path: Path) -> None:
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert cpu_limit(tmp_path) == here
    assert cpu_limit(write(tmp_path, {"cpu.max": "9900000 100000"})) == here
    assert cpu_limit(write(tmp_path, {"cpu.max": "100000 100000"})) == 1
    assert cpu_limit(write(tmp_path, {"cpu.max": "10000 100000"})) == 1
    assert cpu_limit(write(tmp_path, {"cpu.max": "110000 100000"})) == min(2, here or 1)


def test_a_system_without_affinity_is_asked_for_its_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cpu_limit(tmp_path) == os.cpu_count()
