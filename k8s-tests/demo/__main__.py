"""Watch two autoscalers with a model that only waits: one follows the demand, one on CPU does not react.

`make hpa-demo` installs the chart with values-scale-demo.yaml in a namespace of its own, sends a rising and falling
load through a NodePort, and removes all of it. Then it does the same with an autoscaler on CPU. It prints a table while
it runs, and writes demand.csv, cpu.csv and scaling.svg. It needs a cluster with both images on its nodes
(`make kind-load`) that does not serve external.metrics.k8s.io yet, and metrics-server to show the CPU usage. The exit
status is 1 if the pods did not follow the demand, or if a request failed in that run.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cluster import release
from demand import values

from demo.plot import svg
from demo.timeline import write_csv
from demo.watch import Phase, Watched, watch

SOURCES = ("demand", "cpu")
# A pod serves 8 requests a second.
LOAD = (Phase(2, 20), Phase(8, 30), Phase(24, 120), Phase(2, 20))

show = partial(print, flush=True)


def sources(text: str) -> list[str]:
    """The sources in a text with commas."""
    found = text.split(",")
    if not set(found) <= set(SOURCES):
        raise argparse.ArgumentTypeError(f"one or both of {', '.join(SOURCES)}")
    return found


def run(source: str, out: Path) -> Watched | None:
    """One release under the load; None if the user stopped it."""
    namespace = f"hub-demo-{source}"
    show(f"an autoscaler on {source}: installing the chart in namespace {namespace}")
    with release(values(source=source), namespace) as hub:
        try:
            seen = asyncio.run(watch(hub, LOAD, show=show))
        except KeyboardInterrupt:
            show("\nstopped; removing the release")
            return None
    write_csv(out / f"{source}.csv", seen.samples)
    for why, count in seen.why.most_common(3):
        show(f"failed, {count} times: {why}")
    show(f"{source}: {seen.summary}\n")
    return seen


def demo(wanted: Sequence[str], out: Path) -> int:
    """Do all runs, one after the other, and draw them; the exit status."""
    out.mkdir(parents=True, exist_ok=True)
    runs: dict[str, Watched] = {}
    for source in wanted:
        seen = run(source, out)
        if seen is None:
            return 130
        runs[source] = seen
    (out / "scaling.svg").write_text(svg({source: seen.samples for source, seen in runs.items()}))
    show(f"{out}: {', '.join(f'{source}.csv' for source in runs)} and scaling.svg are written")
    # The run on CPU shows what goes wrong, so it does not count.
    return 0 if all(seen.summary.good for source, seen in runs.items() if source != "cpu") else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo", description="Load on a real cluster, and how autoscalers answer it."
    )
    parser.add_argument(
        "--source",
        type=sources,
        default=list(SOURCES),
        help="what the autoscaler follows, one run for each (demand,cpu)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/hpa-demo"),
        help="folder for the samples and the picture (%(default)s)",
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return demo(options.source, options.out)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
