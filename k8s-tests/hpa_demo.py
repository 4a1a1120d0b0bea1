"""Watch the autoscaler: little load, much, none, and what pods, CPU and latency make of it.

`make hpa-demo` installs the chart with values-hpa-demo.yaml in a namespace of its own, sends load through a NodePort,
prints a table while it goes, writes samples.csv and scaling.svg, and takes all of it away again. It needs a cluster
with metrics-server, and both images on its nodes (`make kind-load`). The exit status is 1 where a request failed, or
where pods were not added and taken away again.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import yaml
from cluster import CHART, Release, release
from paced import Paced, paced
from plot import svg
from timeline import HEADER, Sample, Summary, row, summary, write_csv

NAMESPACE = "hub-demo"
DEMO_VALUES = CHART / "values-hpa-demo.yaml"
WINDOW_S = 3.0  # rates and latencies are those of so many seconds
ROW_EVERY_S = 5
HEADER_EVERY = 15  # rows
READINGS_WITHIN_S = 180
AFTERWARDS = 6  # samples of the one pod that is left, for the picture


@dataclass(frozen=True, slots=True)
class Plan:
    """One client, then many, then none until one pod is left, for so many seconds each; a client sends one request
    a second. A pod of the demo answers about 13 a second."""

    low_s: float = 20
    high_s: float = 120
    clients: int = 40
    down_within_s: float = 180


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen."""

    samples: list[Sample]
    summary: Summary
    target_percent: int
    why: list[str]  # what those got whose requests failed


def values() -> dict[str, Any]:
    """The demo's values, with a way in that is not tied to one pod, as a port-forward is."""
    demo: dict[str, Any] = yaml.safe_load(DEMO_VALUES.read_text())
    return {**demo, "gateway": {"service": {"type": "NodePort"}}}


@dataclass(frozen=True, slots=True)
class Scaling:
    """What Kubernetes says at one moment."""

    asked: int
    ready: int
    most: int
    cpu_percent: int | None
    target_percent: int


def scaling(hub: Release) -> Scaling:
    """Deployment and autoscaler of the pool, in one kubectl call."""
    name = hub.inference()
    deployment, hpa = hub.get(f"deployment/{name}", f"hpa/{name}")["items"]
    current = [
        metric["resource"]["current"].get("averageUtilization")
        for metric in hpa["status"].get("currentMetrics") or []
        if metric.get("type") == "Resource"
    ]
    return Scaling(
        deployment["spec"]["replicas"],
        deployment["status"].get("readyReplicas", 0),
        hpa["spec"]["maxReplicas"],
        next(iter(current), None),
        hpa["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
    )


def calm(hub: Release) -> bool:
    """Is there one pod, and a reading of its CPU that wants no more?"""
    now = scaling(hub)
    return (
        now.asked == now.ready == 1 and now.cpu_percent is not None and now.cpu_percent < now.target_percent
    )


async def watch(hub: Release, plan: Plan, show: Callable[[str], None] = print) -> Run:
    """Run a plan on a release that is ready; `show` gets the lines of the table."""
    url = hub.url()
    show("waiting until metrics-server has a reading of the pod's CPU")
    began = monotonic()
    while not await asyncio.to_thread(calm, hub):
        assert monotonic() - began < READINGS_WITHIN_S, (
            "no reading of an idle pod's CPU: is metrics-server installed?"
        )
        await asyncio.sleep(2)
    show(f"{url}: a reading after {monotonic() - began:.0f} s; load begins")
    samples: list[Sample] = []
    began = monotonic()

    async def sample(load: Paced) -> Sample:
        """The next whole second, and a line of the table now and then."""
        await asyncio.sleep(max(0.0, began + len(samples) - monotonic()))
        at_s = monotonic() - began
        seen, now = load.seen(WINDOW_S), await asyncio.to_thread(scaling, hub)
        taken = Sample(
            at_s, load.clients, now.asked, now.ready, now.cpu_percent,
            seen.rate, seen.p50_ms, seen.p99_ms, load.sent, len(load.failed),
        )  # fmt: skip
        if len(samples) % ROW_EVERY_S == 0:
            if len(samples) // ROW_EVERY_S % HEADER_EVERY == 0:
                show(HEADER)
            show(row(taken))
        samples.append(taken)
        return taken

    async with paced(url) as load:
        for clients, seconds in ((1, plan.low_s), (plan.clients, plan.high_s)):
            load.resize(clients)
            rose = monotonic() - began
            while monotonic() - began < rose + seconds:
                await sample(load)
        load.resize(0)
        ended = monotonic() - began
        last = await sample(load)
        while (last.asked, last.ready) != (1, 1) and last.at_s < ended + plan.down_within_s:
            last = await sample(load)
        for _ in range(AFTERWARDS):
            last = await sample(load)
    if (len(samples) - 1) % ROW_EVERY_S:
        show(row(last))
    # By now those that still waited have their answers.
    now = await asyncio.to_thread(scaling, hub)
    found = summary(samples, rose, ended, now.most, load.sent, len(load.failed))
    return Run(samples, found, now.target_percent, load.failed)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Load on a real cluster, until the autoscaler has moved twice."
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/hpa-demo"),
        help="where samples.csv and scaling.svg go (%(default)s)",
    )
    parser.add_argument(
        "--clients",
        type=int,
        default=Plan().clients,
        help="clients at the most, each a request a second (%(default)s)",
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    show = partial(print, flush=True)
    show(f"installing the chart in namespace {NAMESPACE}")
    with release(values(), NAMESPACE) as hub:
        try:
            run = asyncio.run(watch(hub, Plan(clients=options.clients), show))
        except KeyboardInterrupt:
            show("\nstopped; taking the release away")
            return 130
    write_csv(options.out / "samples.csv", run.samples)
    (options.out / "scaling.svg").write_text(svg(run.samples, run.target_percent))
    for why in run.why[:3]:
        show(f"failed: {why}")
    show(f"{options.out}/samples.csv and scaling.svg are written")
    show(str(run.summary))
    return 0 if run.summary.good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
