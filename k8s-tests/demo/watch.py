"""A load that comes in phases and goes, and what a release's pool makes of it."""

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

WINDOW_S = 5.0  # rates and waits are those of so many seconds
ROW_EVERY = 5  # samples
HEADER_EVERY = 15  # rows
CALM_WITHIN_S = 150.0
AFTERWARDS = 6  # samples of the one pod that is left, for the picture


@dataclass(frozen=True, slots=True)
class Phase:
    """So many requests a second for so long."""

    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen, and how often what was said to those whose requests failed."""

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
    """Send the load of all phases to a release that is ready, and none then, until one pod is left and nobody waits
    for an answer, or the bound has passed; `show` gets the lines of a table."""
    url = hub.url()
    samples: list[Sample] = []
    async with autoscaler(hub) as pool:
        await calm(pool, show)
        async with open_loop(url, model) as load:
            began = monotonic()

            async def sample() -> Sample:
                """The next whole second, and a line of the table now and then."""
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
    """Wait for one pod that its autoscaler has read and finds enough, so that what comes is the load's doing."""
    now, began = await pool.look(), monotonic()
    if now.demand is None and not await pool.metered():
        show("no metrics-server in this cluster: an autoscaler on CPU reads <unknown>")
        return
    show("waiting until the autoscaler has read a calm pod")
    while now.reading is None or now.reading >= 1 or (now.asked, now.ready) != (1, 1):
        if monotonic() - began > CALM_WITHIN_S:
            show(f"not within {CALM_WITHIN_S:g} s: {now}")
            return
        await asyncio.sleep(2)
        now = await pool.look()
    show(f"it has after {monotonic() - began:.0f} s; load begins")


async def taken(load: OpenLoop, pool: Autoscaler, began: float) -> Sample:
    """Load and pool at this moment."""
    now = await pool.look()
    since = monotonic() - WINDOW_S
    queue_s = load.queue_p95_s(since)
    return Sample(
        monotonic() - began, load.rate, load.answered(since) / WINDOW_S, None if queue_s is None else 1e3 * queue_s,
        load.waiting, now.demand, now.cpu_percent, now.asked, now.ready, load.sent, len(load.failed),
    )  # fmt: skip
