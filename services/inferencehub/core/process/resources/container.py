"""What the container uses of its limits, with the processes of Python models: from the kernel's control groups.

A process reads those of its own container, whichever version of control groups there is. A process outside of a container
shows what its machine's root group says, or nothing.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

CGROUP = Path("/sys/fs/cgroup")
NO_LIMIT = 2**60  # version 1 says so by a number near 2**63
P = "inferencehub_container"


class Readings(NamedTuple):
    """What the kernel says of a container; None of what it does not say.

    Args:
        memory: bytes that can't be taken back.
        memory_limit: bytes; None without a limit.
        periods: of its limit of CPU, 0.1 s each by default, in which it has run since it began.
        held_up: those of them in which the limit has held it up.
    """

    memory: float | None
    memory_limit: float | None
    periods: float | None
    held_up: float | None


class Container:
    """The families, read at each scrape. One without a value is not shown.

    Args:
        cgroup: where the control groups are.
    """

    def __init__(self, cgroup: Path = CGROUP) -> None:
        self._cgroup = cgroup

    def collect(self) -> list[Metric]:
        """All families."""
        text = "memory of the container that can't be taken back, as the kubelet counts it"
        memory = GaugeMetricFamily(f"{P}_memory_bytes", text)
        limit = GaugeMetricFamily(f"{P}_memory_limit_bytes", "the limit of the container's memory")
        cpu = CounterMetricFamily(f"{P}_cpu_seconds", "CPU time of all processes of the container")
        text = "time that the container's limit of CPU made its processes wait"
        throttled = CounterMetricFamily(f"{P}_cpu_throttled_seconds", text)
        readings = self._version_2() if self._is_2 else self._version_1()
        families: list[GaugeMetricFamily | CounterMetricFamily] = [memory, limit, cpu, throttled]
        for family, value in zip(families, readings, strict=True):
            if value is not None:
                family.add_metric([], value)
        return [*families]

    def read(self) -> Readings:
        """What is used of the limits now."""
        used, limit, *_ = self._version_2() if self._is_2 else self._version_1()
        cpu = self._cgroup / "cpu.stat" if self._is_2 else self._cgroup / "cpu" / "cpu.stat"
        return Readings(used, limit, field(cpu, "nr_periods"), field(cpu, "nr_throttled"))

    @property
    def _is_2(self) -> bool:
        return (self._cgroup / "cgroup.controllers").exists()

    def _version_2(self) -> tuple[float | None, ...]:
        folder = self._cgroup
        used = rest(number(folder / "memory.current"), field(folder / "memory.stat", "inactive_file"))
        cpu = folder / "cpu.stat"
        times = (field(cpu, "usage_usec"), field(cpu, "throttled_usec"))
        return used, number(folder / "memory.max"), *(None if one is None else one / 1e6 for one in times)

    def _version_1(self) -> tuple[float | None, ...]:
        memory, cpu = self._cgroup / "memory", self._cgroup / "cpu"
        used = number(memory / "memory.usage_in_bytes")
        limit = number(memory / "memory.limit_in_bytes")
        times = (number(self._cgroup / "cpuacct/cpuacct.usage"), field(cpu / "cpu.stat", "throttled_time"))
        return (
            rest(used, field(memory / "memory.stat", "total_inactive_file")),
            limit if limit is not None and limit < NO_LIMIT else None,
            *(None if one is None else one / 1e9 for one in times),
        )


def number(file: Path) -> float | None:
    """The number in a file; None if there is no file, or the word "max"."""
    with suppress(OSError, ValueError):
        return float(file.read_text())
    return None


def field(file: Path, name: str) -> float | None:
    """A number of a file that has a name and a number in each line."""
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
    return None


def rest(used: float | None, inactive: float | None) -> float | None:
    """Memory without the files' pages that nobody has used for long: the kernel takes these back first."""
    return None if used is None else max(0.0, used - (inactive or 0.0))
