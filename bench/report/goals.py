"""The goals for each job; where possible, they are ratios within one run on the same machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.report.results import Results

FASTEST = ("fastapi", "triton", "mlserver", "bentoml")
WITH_CPU = ("rate",)  # figures that have a counterpart in CPU time


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a figure of ours, or on its ratio to that of the best of some peers.

    `least` says whether it is a lower bound. `against` is the peers' job where it is another one.
    """

    job: str
    figure: str
    bound: float
    least: bool = True
    peers: Sequence[str] = ()
    against: str = ""
    unit: str = ""

    def met(self, value: float) -> bool:
        """Whether a value keeps it."""
        return value >= self.bound if self.least else value <= self.bound

    def value(self, results: Results) -> float | None:
        """Our median, as a ratio where there are peers; None where one of both was not measured."""
        ours = results.median(self.job, "ours", self.figure)
        if not self.peers or ours is None:
            return ours
        theirs = self.best(results, self.figure)
        return ours / theirs if theirs else None

    def by_cpu(self, results: Results) -> float | None:
        """The ratio as CPU time tells it, which other work on the machine changes less."""
        ours = results.median(self.job, "ours", "cpu_us")
        theirs = self.best(results, "cpu_us", least=True)
        return theirs / ours if self.peers and self.figure in WITH_CPU and ours and theirs else None

    def best(self, results: Results, figure: str, least: bool | None = None) -> float | None:
        """The best of the peers."""
        medians = [results.median(self.against or self.job, peer, figure) for peer in self.peers]
        values = [value for value in medians if value]
        small = not self.least if least is None else least
        return (min(values) if small else max(values)) if values else None

    def words(self) -> str:
        """The goal as it is written in the table."""
        than = f" x {' or '.join(self.peers)}" if self.peers else f" {self.unit}".rstrip()
        if self.against:
            than += f" at {self.against}"
        return f"{self.figure} {'≥' if self.least else '≤'} {self.bound:g}{than}"


GOALS = (
    Goal("three-64", "rate", 3, peers=("fastapi",)),
    Goal("three-64", "rate", 3, peers=("triton",)),
    Goal("three-64", "rate", 10, peers=("naive-aio",)),
    Goal("three-64", "rate", 0.45, peers=("echo",)),
    Goal("three-64", "p99_ms", 1, least=False, peers=("fastapi",)),
    Goal("three-64", "p99_ms", 1, least=False, peers=("triton",)),
    Goal("three-1", "p50_ms", 0.8, least=False, peers=("triton",)),
    Goal("digits-64", "rate", 3, peers=("fastapi",)),
    Goal("image-json-1", "rate", 2, peers=FASTEST),
    Goal("image-json-8", "rate", 2, peers=FASTEST),
    Goal("image-binary-1", "rate", 0.6, peers=("fastapi",)),
    Goal("image-binary-1", "rate", 1.5, peers=("triton",)),
    Goal("image-binary-1", "rate", 3, peers=("naive-aio",)),
    Goal("image-binary-1", "rate", 2, peers=("mlserver", "kserve")),
    Goal("image-binary-8", "rate", 0.6, peers=("fastapi",)),
    Goal("image-binary-8", "rate", 1.5, peers=("triton",)),
    Goal("image-binary-8", "rate", 3, peers=("naive-aio",)),
    Goal("image-binary-8", "rate", 2, peers=("mlserver", "kserve")),
    Goal("grpc-64", "rate", 1.5, peers=("mlserver",)),
    Goal("grpc-64", "rate", 0.6, peers=("triton",)),
    Goal("grpc-gateway-64", "rate", 1.5, peers=("mlserver",)),
    Goal("grpc-merged", "rate", 1.5, peers=("triton",), against="grpc-64"),
    Goal("ceiling-1-pod", "share", 0.99),
    Goal("ceiling-3-pods", "share", 0.99),
    Goal("ceiling-2-gateways", "share", 0.99),
    Goal("overload", "share", 0.95),
    Goal("overload", "refused_p99_ms", 20, least=False, unit="ms"),
    Goal("overload", "last_to_steady", 0.95),
    Goal("idle-10000", "each_kb", 20, least=False, unit="KB"),
    Goal("idle-10000", "share", 0.95),
    Goal("heads", "traced_to_equal", 0.92),
    Goal("heads", "authorized_to_equal", 0.92),
    Goal("security-three", "all_to_plain", 0.85),
    *(Goal("security-bytes", f"{kind}_to_plain", 0.5) for kind in ("tls", "tiers", "all")),
    Goal("rest", "gateway_mb", 60, least=False, unit="MB"),
    Goal("rest", "inference_mb", 120, least=False, unit="MB"),
    Goal("rest", "gateway_s", 0.6, least=False, unit="s"),
    Goal("rest", "inference_s", 1.5, least=False, unit="s"),
)


def goal_table(results: Results) -> Iterator[str]:
    """A row for each goal whose job was run."""
    ran = {run.job for run in results.runs}
    yield "| job | goal | seen | by CPU time | |"
    yield "|---|---|---:|---:|---|"
    for goal in GOALS:
        if goal.job in ran:
            value, cpu = goal.value(results), goal.by_cpu(results)
            seen = "not measured" if value is None else f"{value:.3g}{'x' if goal.peers else ''}"
            verdict = "" if value is None else "met" if goal.met(value) else "**missed**"
            yield f"| {goal.job} | {goal.words()} | {seen} | {f'{cpu:.3g}x' if cpu else ''} | {verdict} |"
