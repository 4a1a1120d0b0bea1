"""A run of the autoscaler's demo as a picture: pods, load, latency and CPU over the same seconds.

python k8s-tests/plot.py build/hpa-demo/samples.csv docs/hpa-demo.svg 60
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from panel import FAINT, HEIGHT, INK, LEFT, RIGHT, WIDTH, Line, Panel, chart, decades, linear, text
from timeline import Sample, read_csv

TOP, GAP, BOTTOM = 62, 44, 50
GREEN, BLUE, ORANGE, PINK, SHADE = "#2f8f5b", "#2b6cb0", "#d9730d", "#b83280", "#f4f6f8"
FONT = "'Segoe UI', 'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
X_TICK_S = 30


def panels(samples: Sequence[Sample], target_percent: int) -> list[Panel]:
    """What is drawn of a run."""

    def line(
        label: str, colour: str, value: Callable[[Sample], float | None], steps: bool = False,
        filled: bool = False, dashed: bool = False,
    ) -> Line:  # fmt: skip
        points = [(sample.at_s, value(sample)) for sample in samples]
        return Line(label, colour, points, steps, filled, dashed)

    most = max(max(sample.asked, sample.ready) for sample in samples)
    load = max(max(sample.clients, sample.rate) for sample in samples)
    cpu = max([sample.cpu_percent or 0 for sample in samples] + [target_percent])
    took = [ms for sample in samples for ms in (sample.p50_ms, sample.p99_ms) if ms] or [1.0]
    pods = [
        line("ready", GREEN, lambda sample: sample.ready, steps=True, filled=True),
        line("asked for by the autoscaler", INK, lambda sample: sample.asked, steps=True, dashed=True),
    ]
    rates = [
        line("answered", BLUE, lambda sample: sample.rate, filled=True),
        line("wanted by the clients", INK, lambda sample: sample.clients, steps=True, dashed=True),
    ]
    latencies = [
        line("p99", ORANGE, lambda sample: sample.p99_ms),
        line("p50", BLUE, lambda sample: sample.p50_ms),
    ]
    readings = [
        line("average of all pods", PINK, lambda sample: sample.cpu_percent, steps=True),
        line(f"target, {target_percent}%", INK, lambda sample: target_percent, steps=True, dashed=True),
    ]
    return [
        Panel("Inference pods", pods, {float(n): str(n) for n in range(most + 1)}),
        Panel("Requests a second", rates, linear(1.05 * load)),
        Panel("Latency, logarithmic", latencies, decades(took), log=True),
        Panel("CPU in % of the request, as the autoscaler sees it", readings, linear(cpu, "%")),
    ]


def phases(samples: Sequence[Sample]) -> Iterator[tuple[float, float, int]]:
    """From when until when there were how many clients."""
    begin = samples[0]
    for sample in samples[1:]:
        if sample.clients != begin.clients:
            yield begin.at_s, sample.at_s, begin.clients
            begin = sample
    yield begin.at_s, samples[-1].at_s, begin.clients


def svg(samples: Sequence[Sample], target_percent: int) -> str:
    """The whole picture.

    Args:
        samples: at least one.
        target_percent: of the CPU request, what the autoscaler aims at.
    """
    end_s = max(samples[-1].at_s, 1.0)
    charts = panels(samples, target_percent)
    floor = TOP + len(charts) * (HEIGHT + GAP) - GAP
    height = floor + BOTTOM

    def x(at_s: float) -> float:
        return LEFT + at_s / end_s * (WIDTH - LEFT - RIGHT)

    busiest = max(sample.clients for sample in samples)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="{FONT}" font-size="12">',
        "<title>Pods, load, latency and CPU while the autoscaler adds pods and takes them away</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for begin, until, clients in phases(samples):
        if clients == busiest:
            parts.append(
                f'<rect x="{x(begin):.1f}" y="8" width="{x(until) - x(begin):.1f}" height="{floor - 8}" fill="{SHADE}"/>'
            )
        words = f"{clients or 'no'} client{'' if clients == 1 else 's'}"
        parts.append(
            text((x(begin) + x(until)) / 2, 25, words, "middle", f'fill="{FAINT}" font-style="italic"')
        )
    for index, panel in enumerate(charts):
        parts.append(f'<g transform="translate(0 {TOP + index * (HEIGHT + GAP)})">')
        parts += chart(panel, x)
        parts.append("</g>")
    parts += [
        text(x(at), floor + 18, str(at), "middle") for at in range(0, int(samples[-1].at_s) + 1, X_TICK_S)
    ]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, floor + 38, "seconds", "middle"))
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    source, picture, target = sys.argv[1:]
    Path(picture).write_text(svg(read_csv(Path(source)), int(target)))
