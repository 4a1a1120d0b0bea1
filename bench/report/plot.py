"""The results as pictures: `python -m bench.report.plot build/bench/results/results.json docs/benchmarks`.

Bars, a panel a job, ours in colour; and the seconds of the overload as lines. Plain SVG, made of strings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from bench.report.results import Results
from bench.report.tables import TITLES, ranked, shown

WIDTH, LEFT, RIGHT, ROW, HEAD = 900, 130, 190, 22, 34
INK, FAINT, GRID, OURS, THEIRS, WALL, GOOD, REFUSED = (
    "#1f2933", "#52606d", "#dde3e9", "#2b6cb0", "#a9b8c6", "#dde3e9", "#2f8f5b", "#d9730d",
)  # fmt: skip
FONT = "'Segoe UI', 'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
LINES_HEIGHT, TOP, BOTTOM = 200, 40, 46


def text(x: float, y: float, words: str, anchor: str = "start", style: str = f'fill="{FAINT}"') -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{escape(words)}</text>'


def page(height: float, title: str, parts: Sequence[str]) -> str:
    """A whole picture."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" font-family="{FONT}" font-size="12">'
    )
    white = f'<rect width="{WIDTH}" height="{height:.0f}" rx="8" fill="#ffffff"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", white, *parts, "</svg>", ""])


def bars(results: Results) -> str:
    """Requests a second of everybody at every job."""
    parts: list[str] = []
    top = 8.0
    for job, title in TITLES.items():
        if len(results.peers(job)) > 1:
            parts.append(f'<g transform="translate(0 {top:.0f})">')
            parts += panel(job, title, results)
            parts.append("</g>")
            top += HEAD + ROW * len(results.peers(job)) + 14
    return page(top, "Requests a second of InferenceHub and of others, by job", parts)


def panel(job: str, title: str, results: Results) -> Iterator[str]:
    """One job; its top left is at 0, 0."""
    yield text(LEFT, 20, title, style=f'fill="{INK}" font-weight="600" font-size="13"')
    peers = ranked(job, results)
    rates = {peer: results.median(job, peer, "rate") or 0.0 for peer in peers}
    for index, peer in enumerate(peers):
        y = HEAD + index * ROW
        length = rates[peer] / max(rates.values()) * (WIDTH - LEFT - RIGHT)
        colour = OURS if peer == "ours" else WALL if peer == "echo" else THEIRS
        p50, p99 = (results.median(job, peer, name) or 0.0 for name in ("p50_ms", "p99_ms"))
        yield text(LEFT - 8, y + 12, peer, "end", f'fill="{INK if peer == "ours" else FAINT}"')
        yield f'<rect x="{LEFT}" y="{y}" width="{max(1.0, length):.1f}" height="16" rx="2" fill="{colour}"/>'
        yield text(
            LEFT + length + 6, y + 12, f"{shown(rates[peer])}/s · p50 {shown(p50)} · p99 {shown(p99)} ms"
        )


def overload(results: Results) -> str:
    """Good answers and refusals, second by second."""
    series = results.series["overload"]
    peak = results.median("overload", "ours", "peak") or 1.0
    most = 1.1 * max([peak, *series["good"], *series["refused"]])
    count = max(2, len(series["good"]))
    parts = [text(LEFT, 24, "Twice the capacity: answers a second", style=f'fill="{INK}" font-weight="600"')]

    def x(at: float) -> float:
        return LEFT + at / (count - 1) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + LINES_HEIGHT * (1 - value / most)

    for value, words in ((0.0, "0"), (peak, f"peak {shown(peak)}")):
        parts.append(f'<path d="M{LEFT},{y(value):.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        parts.append(text(LEFT - 8, y(value) + 4, words, "end"))
    for name, words, colour in (("good", "within the deadline", GOOD), ("refused", "refused", REFUSED)):
        points = [(x(at), y(value)) for at, value in enumerate(series[name])]
        path = "M" + "L".join(f"{left:.1f},{high:.1f}" for left, high in points)
        parts.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'
        )
        parts.append(text(points[-1][0] + 8, points[-1][1] + 4, words, style=f'fill="{colour}"'))
    floor = TOP + LINES_HEIGHT
    parts += [text(x(at), floor + 18, str(at), "middle") for at in range(0, count, 10)]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, floor + 36, "seconds", "middle"))
    return page(floor + BOTTOM, "Goodput and refusals at twice the capacity", parts)


def draw(results: Results, folder: Path) -> None:
    """All pictures that the results are enough for."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(len(results.peers(job)) > 1 for job in TITLES):
        (folder / "peers.svg").write_text(bars(results))
    if "overload" in results.series:
        (folder / "overload.svg").write_text(overload(results))


if __name__ == "__main__":
    source, target = sys.argv[1:]
    draw(Results.read(json.loads(Path(source).read_text())), Path(target))
