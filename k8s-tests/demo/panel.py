"""Charts as SVG text. A panel holds lines over an x axis, which it shares with the other panels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, LEFT, RIGHT, HEIGHT = 900, 66, 24, 118
INK, FAINT, GRID = "#1f2933", "#52606d", "#dde3e9"
NICE = (1, 2, 2.5, 5, 10)
THIN = frozenset("fijlrt ,.")

Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a panel: its label, its colour, and how it is drawn. It has a gap where y is None."""

    label: str
    colour: str
    points: Points
    steps: bool = False
    filled: bool = False
    dashed: bool = False

    def stretches(self) -> Iterator[list[tuple[float, float]]]:
        """The points, divided at those that have no value."""
        stretch: list[tuple[float, float]] = []
        for x, y in self.points:
            if y is not None:
                stretch.append((x, y))
            elif stretch:
                yield stretch
                stretch = []
        if stretch:
            yield stretch


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: title, lines, and the texts of its ticks by value; the first and the last tick are its limits."""

    title: str
    lines: list[Line]
    ticks: dict[float, str]
    log: bool = False

    def y(self, value: float) -> float:
        """Pixels from the panel's top."""
        low, high = min(self.ticks), max(self.ticks)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return HEIGHT * (1 - (value - low) / (high - low))


def linear(most: float, unit: str = "", steps: int = 5) -> dict[float, str]:
    """Ticks from 0 to at least `most`, at round distances."""
    rough = max(most, 1) / steps
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in NICE if nice * power >= rough)
    return {step * n: f"{step * n:g}{unit}" for n in range(max(1, math.ceil(most / step - 1e-9)) + 1)}


def decades(values: Sequence[float]) -> dict[float, str]:
    """Ticks at the powers of ten of milliseconds around all values; a value below 1 ms is drawn as 1 ms."""
    least, most = (math.log10(max(1.0, ms)) for ms in (min(values), max(values)))
    low, high = math.floor(least), math.ceil(most)
    powers = [10.0**n for n in range(low, max(high, low + 1) + 1)]
    return {ms: f"{ms:g} ms" if ms < 1000 else f"{ms / 1000:g} s" for ms in powers}


def text(x: float, y: float, words: str, anchor: str = "start", style: str = f'fill="{FAINT}"') -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{escape(words)}</text>'


def width(words: str) -> float:
    """About how many pixels words take in a font of 12 px, by the width of usual letters."""
    return sum(3.5 if letter in THIN else 6.6 for letter in words)


def legend(lines: Sequence[Line]) -> Iterator[str]:
    """A swatch and a label for each line, from the right, over the panel."""
    right = float(WIDTH - RIGHT)
    for line in reversed(lines):
        left = right - width(line.label)
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        yield text(right, -9, line.label, "end")
        yield f'<path d="M{left - 32:.1f},-13h24" stroke="{line.colour}" stroke-width="2.4"{dash}/>'
        right = left - 50


def drawn(line: Line, panel: Panel, x: Callable[[float], float]) -> Iterator[str]:
    """A line as paths."""
    for stretch in line.stretches():
        path = f"M{x(stretch[0][0]):.1f},{panel.y(stretch[0][1]):.1f}"
        if line.steps:
            changes = [after for before, after in pairwise(stretch) if after[1] != before[1]]
            path += "".join(f"H{x(at):.1f}V{panel.y(value):.1f}" for at, value in changes)
            path += f"H{x(stretch[-1][0]):.1f}"
        else:
            path += "".join(f"L{x(at):.1f},{panel.y(value):.1f}" for at, value in stretch[1:])
        if line.filled:
            area = f"{path}V{HEIGHT}H{x(stretch[0][0]):.1f}Z"
            yield f'<path d="{area}" fill="{line.colour}" fill-opacity="0.18"/>'
        style = 'stroke-width="1.4" stroke-dasharray="5 3"' if line.dashed else 'stroke-width="2"'
        yield f'<path d="{path}" fill="none" stroke="{line.colour}" stroke-linejoin="round" {style}/>'


def chart(panel: Panel, x: Callable[[float], float]) -> Iterator[str]:
    """A panel with its grid, its title and its lines; its top left is at 0, 0."""
    yield text(LEFT, -9, panel.title, style=f'fill="{INK}" font-weight="600" font-size="13"')
    yield from legend(panel.lines)
    for value, words in panel.ticks.items():
        y = panel.y(value)
        yield f'<path d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>'
        yield text(LEFT - 8, y + 4, words, "end")
    for line in panel.lines:
        yield from drawn(line, panel, x)
