"""Send a load in phases to a release, and record how its pool reacts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from cluster import Release
from open_loop import OpenLoop, open_loop

from demo.autoscaler import Autoscaler, autoscaler
from demo.timeline import HEADER, Sample, Summary, row, summary

WINDOW_S = 5.0  # rates and waits are means over so many seconds
ROW_EVERY = 5  # samples
HEADER_EVERY = 15  # rows
CALM_WITHIN_S = 150.0
AFTERWARDS = 6  # samples at the end, with one pod, for the picture


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the load: requests a second, and for how many seconds."""

    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Watched:
    """The samples of a run, and how often requests failed with which answer."""

    samples: list[Sample]
    why: Counter[str]

    @property
    def summary(self) -> Summary:
        """The run in figures."""
        return summary(self.samples)


async def watch(
    hub: Release,
    phases: Sequence[Phase],
    model: str = "v1-mock",
    down_within_s: float = 180.0,
    show: Callable[[str], None] = print,
) -> Watched:
    """Send the load of all phases to a release that is ready. Then send nothing, until one pod is left and no request
    waits for its answer, at most for `down_within_s` seconds.

    Args:
        hub: the release.
        phases: the load.
        model: the mock model that the requests name.
        down_within_s: see above.
        show: takes the lines of a table, one at a time.
    """
    url = hub.url()
    samples: list[Sample] = []
    async with autoscaler(hub) as pool:
        await calm(pool, show)
        async with open_loop(url, model) as load:
            began = monotonic()

            async def sample() -> Sample:
                """Take the sample of the next whole second, and show a line of the table for every fifth."""
                await asyncio.sleep(max(0.0, began + len(samples) - monotonic()))
                samples.append(await taken(load, pool, began))
                if len(samples) % ROW_EVERY == 1:
                    if len(samples) // ROW_EVERY % HEADER_EVERY == 0:
                        show(HEADER)
                    show(row(samples[-1]))
                return samples[-1]

            for phase in phases:
                load.rate = phase.rate
                until = monotonic() + phase.seconds
                while monotonic() < until:
                    await sample()
            load.rate = 0
            ended = monotonic()
            last = await sample()
            while (last.asked, last.ready, last.waiting) != (1, 1, 0) and monotonic() < ended + down_within_s:
                last = await sample()
            for _ in range(AFTERWARDS):
                last = await sample()
    show(row(last))
    return Watched(samples, Counter(load.failed))


async def calm(pool: Autoscaler, show: Callable[[str], None]) -> None:
    """Wait until the autoscaler has read one pod and finds it enough, so that every later change comes from the load."""
    now, began = await pool.look(), monotonic()
    if now.demand is None and not await pool.metered():
        show("no metrics-server in this cluster: an autoscaler on CPU reads <unknown>")
        return
    show("waiting until the autoscaler has read one pod without load")
    while now.reading is None or now.reading >= 1 or (now.asked, now.ready) != (1, 1):
        if monotonic() - began > CALM_WITHIN_S:
            show(f"not within {CALM_WITHIN_S:g} s: {now}")
            return
        await asyncio.sleep(2)
        now = await pool.look()
    show(f"it took {monotonic() - began:.0f} s; the load begins")


async def taken(load: OpenLoop, pool: Autoscaler, began: float) -> Sample:
    """The load and the pool at this moment."""
    now = await pool.look()
    since = monotonic() - WINDOW_S
    queue_s = load.queue_p95_s(since)
    return Sample(
        monotonic() - began, load.rate, load.answered(since) / WINDOW_S, None if queue_s is None else 1e3 * queue_s,
        load.waiting, now.demand, now.cpu_percent, now.asked, now.ready, load.sent, len(load.failed),
    )  # fmt: skip
