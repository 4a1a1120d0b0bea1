"""What a run of the autoscaler's demo looked like, second by second: samples, their table, their CSV, their summary."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One second of it. None: nothing was answered, or metrics-server said nothing."""

    at_s: float
    clients: int
    asked: int  # pods that the autoscaler wants
    ready: int
    cpu_percent: int | None  # of the pods' CPU request, on average, as the autoscaler sees it
    rate: float  # right answers a second
    p50_ms: float | None
    p99_ms: float | None
    sent: int  # since the beginning, as is `failed`
    failed: int


HEADER = "  time  clients  requests/s   p50 ms   p99 ms   CPU  pods                ready  failed"


def row(sample: Sample) -> str:
    """A line of the table under HEADER: a # for each pod that is ready, a . for each that is still to come."""
    ms = "".join(f"{'-' if value is None else f'{value:.0f}':>9}" for value in (sample.p50_ms, sample.p99_ms))
    cpu = "-" if sample.cpu_percent is None else f"{sample.cpu_percent}%"
    pods = "#" * sample.ready + "." * max(0, sample.asked - sample.ready)
    return (
        f"{sample.at_s:5.0f}s  {sample.clients:7}  {sample.rate:10.1f}{ms}{cpu:>6}  "
        f"{pods:<12}{sample.ready:>8} of {sample.asked}{sample.failed:>8}"
    )


def write_csv(path: Path, samples: Sequence[Sample]) -> None:
    """One line a sample; empty where it is None."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Sample)], lineterminator="\n")
        writer.writeheader()
        for sample in samples:
            values = asdict(sample).items()
            writer.writerow({k: round(v, 2) if isinstance(v, float) else v for k, v in values})


def read_csv(path: Path) -> list[Sample]:
    """What write_csv wrote."""
    parse: dict[str, Callable[[str], float | int]] = {"int": int, "float": float}
    types = {field.name: parse[str(field.type).removesuffix(" | None")] for field in fields(Sample)}
    with path.open(newline="") as file:
        return [
            Sample(**{name: types[name](text) if text else None for name, text in line.items()})  # type: ignore[arg-type]
            for line in csv.DictReader(file)
        ]


@dataclass(frozen=True, slots=True)
class Summary:
    """Seconds after the load rose until the autoscaler wanted more pods and until all were ready, seconds after it
    ended until one was left; None for what did not happen."""

    first_up_s: float | None
    all_up_s: float | None
    most: int
    back_s: float | None
    sent: int
    failed: int

    @property
    def good(self) -> bool:
        """It scaled up, it scaled down, and nobody got a wrong answer."""
        return None not in (self.first_up_s, self.back_s) and self.sent > 0 and not self.failed

    def __str__(self) -> str:
        def after(seconds: float | None) -> str:
            return "never" if seconds is None else f"after {seconds:.0f} s"

        return (
            f"first scale-up {after(self.first_up_s)}, all {self.most} pods ready {after(self.all_up_s)}; "
            f"back to 1 {after(self.back_s)} without load; {self.sent} sent, {self.failed} failed"
        )


def summary(
    samples: Sequence[Sample], rose_s: float, ended_s: float, most: int, sent: int, failed: int
) -> Summary:
    """What happened in a run whose load rose and ended at these seconds, with `most` pods allowed."""

    def first(condition: Callable[[Sample], bool], since_s: float) -> float | None:
        found = (sample.at_s - since_s for sample in samples if sample.at_s >= since_s and condition(sample))
        return next(found, None)

    up = first(lambda sample: sample.asked > 1, rose_s)
    full = first(lambda sample: sample.ready >= most, rose_s)
    back = first(lambda sample: sample.asked == sample.ready == 1, ended_s) if up is not None else None
    return Summary(up, full, most, back, sent, failed)
