"""Draw runs under the same load as one picture: pods, requests, wait in the queue and CPU, over time.

PYTHONPATH=k8s-tests python -m demo.plot docs/scaling.svg build/hpa-demo/demand.csv build/hpa-demo/cpu.csv
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from demo.panel import FAINT, HEIGHT, INK, LEFT, RIGHT, WIDTH, Line, Panel, chart, decades, linear, text
from demo.timeline import Sample, read_csv

TOP, GAP, BOTTOM = 62, 44, 50
GREEN, ORANGE, SHADE = "#2f8f5b", "#d9730d", "#f4f6f8"
LOOKS = {"demand": ("on demand", GREEN), "cpu": ("on CPU", ORANGE)}
FONT = "'Segoe UI', 'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
X_TICK_S = 30
TARGET_PERCENT = 70  # the target of the chart's autoscalers on CPU

Runs = Mapping[str, Sequence[Sample]]
Value = Callable[[Sample], float | None]


def panels(runs: Runs) -> list[Panel]:
    """The panels, with a line for each run."""

    def lines(value: Value, steps: bool = False, filled: bool = False, failures: bool = False) -> list[Line]:
        drawn = []
        for source, samples in runs.items():
            label, colour = LOOKS[source]
            label += f", {samples[-1].failed} failed" if failures else ""
            drawn.append(Line(label, colour, points(samples, value), steps, filled))
        return drawn

    every = [sample for samples in runs.values() for sample in samples]
    longest = max(runs.values(), key=len)
    asked = [
        Line(
            "asked for",
            LOOKS[source][1],
            points(samples, lambda sample: sample.asked),
            steps=True,
            dashed=True,
        )
        for source, samples in runs.items()
        if any(sample.asked != sample.ready for sample in samples)
    ]
    wanted = Line("wanted", INK, points(longest, lambda sample: sample.wanted), steps=True, dashed=True)
    target = Line(
        f"target, {TARGET_PERCENT}%", INK, points(longest, lambda _: TARGET_PERCENT), steps=True, dashed=True
    )
    most = max(max(sample.asked, sample.ready) for sample in every)
    load = max(max(sample.wanted, sample.answered) for sample in every)
    waits = [sample.queue_p95_ms for sample in every if sample.queue_p95_ms is not None] or [1.0]
    cpu = max(TARGET_PERCENT, *(sample.cpu_percent or 0 for sample in every))
    pods = lines(lambda sample: sample.ready, steps=True, filled=True)
    answered = lines(lambda sample: sample.answered, failures=True)
    used = lines(lambda sample: sample.cpu_percent, steps=True)
    return [
        Panel("Inference pods", [*pods, *asked], linear(most)),
        Panel("Requests answered a second", [*answered, wanted], linear(load)),
        Panel("Wait in the queue, p95, logarithmic", lines(lambda sample: sample.queue_p95_ms), decades(waits), log=True),
        Panel("CPU that a pod uses, in % of its request", [*used, target], linear(cpu, "%")),
    ]  # fmt: skip


def points(samples: Sequence[Sample], value: Value) -> list[tuple[float, float | None]]:
    """A value over time."""
    return [(sample.at_s, value(sample)) for sample in samples]


def phases(samples: Sequence[Sample]) -> Iterator[tuple[float, float, float]]:
    """The phases of the load: begin and end in seconds, and requests a second."""
    begin = samples[0]
    for sample in samples[1:]:
        if sample.wanted != begin.wanted:
            yield begin.at_s, sample.at_s, begin.wanted
            begin = sample
    yield begin.at_s, samples[-1].at_s, begin.wanted


def svg(runs: Runs) -> str:
    """The whole picture.

    Args:
        runs: samples by what the autoscaler followed, `demand` or `cpu`; at least one run, with at least one sample.
    """
    longest = max(runs.values(), key=len)
    end_s = max(longest[-1].at_s, 1.0)
    charts = panels(runs)
    floor = TOP + len(charts) * (HEIGHT + GAP) - GAP
    height = floor + BOTTOM

    def x(at_s: float) -> float:
        return LEFT + at_s / end_s * (WIDTH - LEFT - RIGHT)

    busiest = max(sample.wanted for sample in longest)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="{FONT}" font-size="12">',
        "<title>Pods, requests, queue and CPU under the same load, by what the autoscaler follows</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for begin, until, wanted in phases(longest):
        if wanted == busiest:
            parts.append(
                f'<rect x="{x(begin):.1f}" y="8" width="{x(until) - x(begin):.1f}" height="{floor - 8}" fill="{SHADE}"/>'
            )
        words = f"{wanted:g}/s" if wanted else "no load"
        parts.append(
            text((x(begin) + x(until)) / 2, 25, words, "middle", f'fill="{FAINT}" font-style="italic"')
        )
    for index, panel in enumerate(charts):
        parts.append(f'<g transform="translate(0 {TOP + index * (HEIGHT + GAP)})">')
        parts += chart(panel, x)
        parts.append("</g>")
    parts += [text(x(at), floor + 18, str(at), "middle") for at in range(0, int(end_s) + 1, X_TICK_S)]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, floor + 38, "seconds", "middle"))
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    picture, *tables = (Path(name) for name in sys.argv[1:])
    picture.write_text(svg({table.stem: read_csv(table) for table in tables}))
