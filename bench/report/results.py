"""The measurements of all runs, and their medians."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job against a peer: figures by name (units are in the names), errors by kind."""

    job: str
    peer: str
    figures: dict[str, float]
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Results:
    """All runs, the peers that could not be measured with the reasons, and notes for the reader."""

    runs: list[Run] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    series: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # seconds one by one, for plots

    def of(self, job: str, peer: str) -> list[Run]:
        """The runs of a job against a peer."""
        return [run for run in self.runs if (run.job, run.peer) == (job, peer)]

    def values(self, job: str, peer: str, figure: str) -> list[float]:
        """A figure in each run that has it."""
        return [run.figures[figure] for run in self.of(job, peer) if figure in run.figures]

    def median(self, job: str, peer: str, figure: str) -> float | None:
        """The median over the runs; None where there is none."""
        values = self.values(job, peer, figure)
        return median(values) if values else None

    def spread(self, job: str, peer: str, figure: str) -> float:
        """How far the runs were apart, as a share of their median."""
        values = self.values(job, peer, figure)
        middle = median(values) if values else 0.0
        return (max(values) - min(values)) / middle if middle else 0.0

    def peers(self, job: str) -> list[str]:
        """The peers that were measured with a job, in the order of the runs."""
        return list(dict.fromkeys(run.peer for run in self.runs if run.job == job))

    def failed(self) -> Iterator[Run]:
        """The runs with errors."""
        return (run for run in self.runs if run.errors)

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Results:
        """From a file that `as_json` went into."""
        runs = [Run(**run) for run in kept["runs"]]
        return cls(runs, kept["absent"], kept["notes"], kept["series"])

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return asdict(self)
