"""What was seen of a pool while it worked off jobs, as a table and as a picture in build/jobs.

PYTHONPATH=k8s-tests python k8s-tests/jobs_seen.py docs/jobs.svg build/jobs/jobs-one-tenant.csv
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cluster import ROOT
from demo.panel import HEIGHT, INK, LEFT, RIGHT, WIDTH, Line, Panel, chart, linear, text

OUT = ROOT / "build" / "jobs"
TOP, GAP, BOTTOM, GREEN, BLUE = 40, 44, 50, "#2f8f5b", "#2b6cb0"
FONT = "'Segoe UI', 'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
X_TICK_S = 15


class Look(NamedTuple):
    """One look: seconds since the jobs came, jobs that have not ended, demand in pods, pods asked for and ready."""

    at_s: float
    left: int
    demand: float | None
    asked: int
    ready: int


def write(name: str, seen: Sequence[Look]) -> None:
    """Write both."""
    OUT.mkdir(parents=True, exist_ok=True)
    with (OUT / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Look._fields)
        writer.writerows([round(one.at_s, 1), *one[1:]] for one in seen)
    (OUT / f"{name}.svg").write_text(svg(seen))


def read(path: Path) -> list[Look]:
    """The looks in a table."""
    with path.open(newline="") as file:
        return [
            Look(float(at), int(left), float(demand) if demand else None, int(asked), int(ready))
            for at, left, demand, asked, ready in list(csv.reader(file))[1:]
        ]


def svg(seen: Sequence[Look]) -> str:
    """The picture: jobs that are left, and pods."""
    jobs = Line("have not ended", BLUE, [(one.at_s, one.left) for one in seen], filled=True)
    ready = Line("ready", GREEN, [(one.at_s, one.ready) for one in seen], steps=True, filled=True)
    asked = Line("asked for", GREEN, [(one.at_s, one.asked) for one in seen], steps=True, dashed=True)
    demand = Line("demand", INK, [(one.at_s, one.demand) for one in seen], dashed=True)
    most = max(max(one.asked, one.ready, one.demand or 0) for one in seen)
    panels = [
        Panel("Jobs", [jobs], linear(max(one.left for one in seen))),
        Panel("Inference pods", [ready, asked, demand], linear(most)),
    ]
    end_s = seen[-1].at_s
    floor = TOP + len(panels) * (HEIGHT + GAP) - GAP
    height = floor + BOTTOM

    def x(at_s: float) -> float:
        return LEFT + at_s / end_s * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="{FONT}" font-size="12">',
        "<title>Jobs that wait for a pool without pods, and its pods, over time</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for index, panel in enumerate(panels):
        parts += [f'<g transform="translate(0 {TOP + index * (HEIGHT + GAP)})">', *chart(panel, x), "</g>"]
    parts += [text(x(at), floor + 18, str(at), "middle") for at in range(0, int(end_s) + 1, X_TICK_S)]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, floor + 38, "seconds since the jobs came", "middle"))
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(svg(read(Path(sys.argv[2]))))
