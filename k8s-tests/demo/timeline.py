"""A pool under a load that comes and goes, second by second: samples, their table, their CSV file, and a summary that is
computed from the samples alone."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

SETTLED_S = 1.0  # a shorter wait in the queue counts as none


@dataclass(frozen=True, slots=True)
class Sample:
    """One second. None: nothing was answered, or there was no reading."""

    at_s: float
    wanted: float  # requests a second, like `answered`
    answered: float
    queue_p95_ms: float | None
    waiting: int
    demand: float | None  # the number of pods that would be fully busy, as the autoscaler reads it
    cpu_percent: float | None  # of the pods' CPU request, on average
    asked: int  # pods that the autoscaler wants
    ready: int
    sent: int  # since the beginning, like `failed`
    failed: int


HEADER = "  time  wanted/s  answered/s  queue p95  waiting  demand        CPU  pods           ready  failed"


def row(sample: Sample) -> str:
    """A line of the table under HEADER: a # for each pod that is ready, a . for each that is not ready yet."""
    queue = "-" if sample.queue_p95_ms is None else f"{sample.queue_p95_ms / 1e3:.2f} s"
    demand = "-" if sample.demand is None else f"{sample.demand:.2f}"
    cpu = "<unknown>" if sample.cpu_percent is None else f"{sample.cpu_percent:.0f}%"
    pods = "#" * sample.ready + "." * max(0, sample.asked - sample.ready)
    return (
        f"{sample.at_s:5.0f}s  {sample.wanted:8g}  {sample.answered:10.1f}  {queue:>9}  {sample.waiting:7}  "
        f"{demand:>6}  {cpu:>9}  {pods:<10} {sample.ready:>4} of {sample.asked}{sample.failed:>8}"
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
    """The samples in a file of write_csv."""
    parse: dict[str, Callable[[str], float | int]] = {"int": int, "float": float}
    types = {field.name: parse[str(field.type).removesuffix(" | None")] for field in fields(Sample)}
    with path.open(newline="") as file:
        return [
            Sample(**{name: types[name](text) if text else None for name, text in line.items()})  # type: ignore[arg-type]
            for line in csv.DictReader(file)
        ]


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in figures; None for what did not happen.

    Args:
        more_s: seconds from the first rise of the load until the autoscaler wanted more pods.
        most: pods that were ready at the same time.
        worst_queue_s: the longest wait in the queue, p95.
        settled_s: seconds from the highest load until the wait stayed under SETTLED_S.
        back_s: seconds from the end of the load until one pod was left.
        sent: requests, `failed` of them without a right answer.
    """

    more_s: float | None
    most: int
    worst_queue_s: float
    settled_s: float | None
    back_s: float | None
    sent: int
    failed: int

    @property
    def good(self) -> bool:
        """Whether pods came and went, the queue became short, and no request failed."""
        return None not in (self.more_s, self.settled_s, self.back_s) and self.sent > 0 and not self.failed

    def __str__(self) -> str:
        def after(seconds: float | None) -> str:
            return "never" if seconds is None else f"after {seconds:.0f} s"

        return (
            f"more pods wanted: {after(self.more_s)}; ready at most: {self.most}; "
            f"queue wait p95: {self.worst_queue_s:.1f} s at worst, under {SETTLED_S:g} s in full load: "
            f"{after(self.settled_s)}; back to 1 pod without load: {after(self.back_s)}; "
            f"{self.sent} sent, {self.failed} failed"
        )


def summary(samples: Sequence[Sample]) -> Summary:
    """The figures of a run that begins with little load and ends without any."""
    highest = max(sample.wanted for sample in samples)
    full = [sample for sample in samples if sample.wanted == highest]
    rose_s = next(sample.at_s for sample in samples if sample.wanted > samples[0].wanted or sample is full[0])
    ended = [sample for sample in samples if sample.at_s > full[-1].at_s and not sample.wanted]
    long = [place for place, sample in enumerate(full) if queue_s(sample) >= SETTLED_S]
    settled = full[long[-1] + 1 :] if long else full
    more = [sample for sample in samples if sample.at_s >= rose_s and sample.asked > 1]
    back = [sample for sample in ended if sample.asked == sample.ready == 1]
    return Summary(
        more[0].at_s - rose_s if more else None,
        max(sample.ready for sample in samples),
        max((sample.queue_p95_ms or 0.0) / 1e3 for sample in samples),
        settled[0].at_s - full[0].at_s if settled else None,
        back[0].at_s - ended[0].at_s if more and back else None,
        samples[-1].sent,
        samples[-1].failed,
    )


def queue_s(sample: Sample) -> float:
    """The wait in the queue, p95, in seconds; infinite if nothing was answered."""
    return float("inf") if sample.queue_p95_ms is None else sample.queue_p95_ms / 1e3
