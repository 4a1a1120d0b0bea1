"""What any process looks at: memory and CPU of its container, certificates by their dates, clocks, files."""

from __future__ import annotations

from pathlib import Path
from time import time

import pytest

from inferencehub.core.auth.limits_file import LimitsFile
from inferencehub.core.process.doctor.finding import Finding, Level
from inferencehub.core.process.doctor.process import lasting, of_clock, of_files, of_limits, of_open_files
from inferencehub.core.process.resources.container import Container, Readings
from inferencehub.core.tls.certificate import Certificate
from tests.authority import Authority
from tests.doctors import one

MIB = 2**20


def container(folder: Path, used: int, limit: str) -> Container:
    """Control groups of version 2 that say so."""
    (folder / "cgroup.controllers").write_text("cpu memory")
    (folder / "memory.current").write_text(str(used))
    (folder / "memory.max").write_text(limit)
    (folder / "memory.stat").write_text("inactive_file 0\n")
    return Container(folder)


class HeldUp(Container):
    """A container that its limit of CPU held up in 80 of 100 periods, and in some between two looks.

    Args:
        folder: of its control groups.
        periods: between two looks.
        held_up: those of them in which its limit holds it up.
    """

    def __init__(self, folder: Path, periods: int, held_up: int) -> None:
        super().__init__(folder)
        self._file = folder / "cpu.stat"
        self._more = periods, held_up
        self._write(100, 80)

    def _write(self, periods: int, held_up: int) -> None:
        text = f"usage_usec 1\nnr_periods {periods}\nnr_throttled {held_up}\nthrottled_usec 1\n"
        self._file.write_text(text)

    def read(self) -> Readings:
        readings = super().read()
        self._write(100 + self._more[0], 80 + self._more[1])
        return readings


@pytest.mark.parametrize(
    ("used", "limit", "level"),
    [
        (60 * MIB, "max", Level.OK),
        (60 * MIB, str(512 * MIB), Level.OK),
        (500 * MIB, str(512 * MIB), Level.WARNING),
        (60 * MIB, str(256 * MIB), Level.FAULT),
    ],
)
async def test_memory_against_its_limit(tmp_path: Path, used: int, limit: str, level: Level) -> None:
    found = await of_limits(256 * MIB, container=container(tmp_path, used, limit))
    memory = one(found, "memory", level)
    if level is Level.FAULT:
        assert memory.seen == (
            "the limit is 256 MiB, and HUB_QUEUE_BYTES alone lets requests take 256 MiB; 60 MiB of 256 MiB are used"
        )


async def test_a_limit_of_memory_in_version_1_of_control_groups(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.usage_in_bytes").write_text(str(60 * MIB))
    (tmp_path / "memory/memory.limit_in_bytes").write_text(str(128 * MIB))
    found = await of_limits(256 * MIB, container=Container(tmp_path))
    assert one(found, "memory").seen.startswith("the limit is 128 MiB")


@pytest.mark.parametrize(
    ("periods", "held_up", "share", "level"),
    [
        (4, 3, "75%", Level.WARNING),
        (4, 1, "25%", Level.OK),
        (1, 1, "25%", Level.OK),  # three periods in which nothing wanted to run
        (0, 0, "0%", Level.OK),
    ],
)
async def test_cpu_that_is_held_up_now(
    tmp_path: Path, periods: int, held_up: int, share: str, level: Level
) -> None:
    container(tmp_path, MIB, "max")
    found = await of_limits(container=HeldUp(tmp_path, periods, held_up), look_s=0.4)
    seen = one(found, "CPU", level).seen
    assert seen == f"in the last 0.4 s its limit has held the container up in {share} of the periods"


def test_more_files_than_the_limit_allows() -> None:
    assert of_open_files(10**9).level is Level.WARNING
    assert of_open_files(1).level is Level.OK


@pytest.mark.parametrize(
    ("seconds", "level", "seen"),
    [
        (-3600.0, Level.FAULT, "its certificate has ended 1 hour ago"),
        (3 * 86_400.0 + 60, Level.WARNING, "its certificate ends in 3 days"),
        (90 * 86_400.0 + 60, Level.OK, "its certificate ends in 90 days"),
    ],
)
def test_certificates_by_their_dates(tmp_path: Path, seconds: float, level: Level, seen: str) -> None:
    chain, key = Authority(tmp_path, "mine").brief("localhost", seconds)
    found = of_files([Certificate("HUB_TLS", str(chain), str(key))])
    assert one(found, "HUB_TLS", level).seen == seen


def test_a_file_that_changed_and_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "limits.json"
    file.write_text("{}")
    limits = LimitsFile(str(file), "HUB_LIMITS", False)
    one(of_files([limits]), "HUB_LIMITS", Level.OK)
    file.write_text('{"tenants": 5}')
    limits.look()
    assert "HUB_LIMITS" in one(of_files([limits]), "HUB_LIMITS").seen
    file.unlink()
    limits.look()
    assert "cannot be read" in one(of_files([limits]), "HUB_LIMITS").seen
    file.write_text("{}")
    limits.look()
    one(of_files([limits]), "HUB_LIMITS", Level.OK)


@pytest.mark.parametrize(
    ("apart_s", "level"),
    [(0.0, Level.OK), (-2.0, Level.OK), (9.0, Level.WARNING), (-9.0, Level.WARNING), (120.0, Level.FAULT)],
)
def test_clocks(apart_s: float, level: Level) -> None:
    found = of_clock("a pod", time() + apart_s)
    assert isinstance(found, Finding)
    assert found.level is level
    assert ("ahead" in found.seen, "behind" in found.seen) == (apart_s > 3, apart_s < -3)
    assert of_clock("a pod", None) is None


def test_times_for_people() -> None:
    assert [lasting(one) for one in (5.2, 61, 7200, 86_400, 864_000)] == [
        "5 s",
        "1 minute",
        "2 hours",
        "1 day",
        "10 days",
    ]
