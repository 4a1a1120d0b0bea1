"""The jobs for both checkouts, and how much worse the new one may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.load.checker import asking
from bench.load.h2load import Seen, ask_http
from bench.load.questions import Question, predict, v2, v2_binary
from bench.servers.stack import Stack


@dataclass(frozen=True, slots=True)
class Row:
    """A job, the figure that is compared, and its bound: the least ratio of a rate, the largest of a latency."""

    name: str
    model: str
    ask: Callable[[str], list[Question]]
    clients: int
    figure: str = "rate"
    bound: float = 0.97
    quick: bool = False

    def keeps(self, ratio: float) -> bool:
        """Whether a ratio of new to old is good enough."""
        return ratio >= self.bound if self.figure == "rate" else ratio <= self.bound


ROWS = (
    Row("three-64", "three", predict, 64, quick=True),
    Row("three-1", "three", predict, 1, "p50_ms", 1.03, quick=True),
    Row("image-json-1", "image", v2, 1),
    Row("image-json-8", "image", v2, 8, quick=True),
    Row("image-binary-1", "image", v2_binary, 1),
    Row("image-binary-8", "image", v2_binary, 8, quick=True),
)


@dataclass(slots=True)
class Ratios:
    """New to old, round by round: of the row's figure, and of the CPU time of a request."""

    figure: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, row: Row, old: Mapping[str, float], new: Mapping[str, float]) -> None:
        """One round's figures."""
        self.figure.append(new[row.figure] / old[row.figure])
        self.cpu.append(new["cpu_us"] / old["cpu_us"])


def one_run(stack: Stack, row: Row, seconds: float) -> dict[str, float]:
    """The figures of one checkout at one row.

    Raises:
        SystemExit: where an answer is wrong.
    """
    questions = row.ask(row.model)
    with asking(stack.port, questions) as once:
        for _ in questions:
            if wrong := once():
                raise SystemExit(f"{row.name}: {wrong}")
    seen: Seen = ask_http(stack.port, questions[0], row.clients, seconds, lambda: sum(stack.cpu_seconds()))
    if seen.errors:
        raise SystemExit(f"{row.name}: {seen.errors}")
    return seen.figures()


def table(rows: Sequence[Row], seen: Mapping[str, Ratios]) -> str:
    """A line for each row: the median of the ratios, how far they lie apart, and whether the bound is kept."""
    lines = [f"{'row':15} {'new to old':>10} {'lowest':>8} {'highest':>8} {'CPU':>7}  bound"]
    for row in rows:
        ratios, sign = seen[row.name].figure, "≥" if row.figure == "rate" else "≤"
        verdict = "kept" if row.keeps(median(ratios)) else "MISSED"
        lines.append(
            f"{row.name:15} {median(ratios):10.3f} {min(ratios):8.3f} {max(ratios):8.3f} "
            f"{median(seen[row.name].cpu):7.3f}  {row.figure} {sign} {row.bound:g}: {verdict}"
        )
    return "\n".join(lines)
