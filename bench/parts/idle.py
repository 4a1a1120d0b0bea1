"""10,000 idle connections next to load: the memory of each, and how much they slow the other connections down.

The load is measured with and without them, in turns, on the same gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
from statistics import median

import uvloop

from bench.load.checker import Checker, asking
from bench.load.connection import Connection, http
from bench.load.h2load import ask_http
from bench.load.questions import predict
from bench.report.results import Results, Run
from bench.servers.proc import memory_mb
from bench.servers.processes import can_pin
from bench.servers.stack import Stack, running_stack

COUNT, CLIENTS = 10_000, 64
AT_ONCE = 200  # connections opened at a time
SETTLE_S = 2.0
ASKED = http("GET", "/v2/health/live")


class Idle(Connection):
    """Asks once, so that the server has seen a whole request, and then stays."""

    def __init__(self, open_ones: set[Idle]) -> None:
        self.open_ones = open_ones
        self.ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.open_ones.add(self)
        self.transport.write(ASKED)

    def answered(self, status: int, body: bytes) -> None:
        self.ready.set_result(status)

    def connection_lost(self, error: Exception | None) -> None:
        self.open_ones.discard(self)
        if not self.ready.done():
            self.ready.set_result(0)


async def opened(stack: Stack, count: int) -> set[Idle]:
    """Connections that have been answered once and are kept."""
    open_ones: set[Idle] = set()
    loop = asyncio.get_running_loop()

    async def one() -> None:
        _, idle = await loop.create_connection(lambda: Idle(open_ones), stack.host, stack.port)
        await idle.ready

    for begun in range(0, count, AT_ONCE):
        await asyncio.gather(*[one() for _ in range(min(AT_ONCE, count - begun))])
    return open_ones


async def rate(stack: Stack, seconds: float) -> tuple[float, float, dict[str, int]]:
    """Requests a second of the loaded connections, CPU microseconds of both tiers for each, errors."""

    def load() -> tuple[float, float, dict[str, int]]:
        questions = predict("three")
        with asking(stack.port, questions) as ask, Checker(ask, 10) as checker:
            seen = ask_http(stack.port, questions[0], CLIENTS, seconds, lambda: sum(stack.cpu_seconds()))
        return seen.rate, seen.figures()["cpu_us"], {**seen.errors, **checker.wrong}

    return await asyncio.to_thread(load)


async def measure(count: int, turns: int, seconds: float, pin: bool) -> Run:
    """Without, with, without, with."""
    needed = count + 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise SystemExit(
                f"{count} connections need {needed} open files, and {hard} are allowed (ulimit -Hn)"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    alone: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    each_kb: list[float] = []
    errors: dict[str, int] = {}
    with running_stack(pin=pin) as stack:
        await stack.until_ready("three")
        for _ in range(turns):
            *seen, wrong = await rate(stack, seconds)
            alone.append((seen[0], seen[1]))
            errors |= wrong
            before = memory_mb(stack.children[0].pid, "Rss")
            idle = await opened(stack, count)
            await asyncio.sleep(SETTLE_S)
            each_kb.append((memory_mb(stack.children[0].pid, "Rss") - before) * 1e3 / count)
            *seen, wrong = await rate(stack, seconds)
            beside.append((seen[0], seen[1]))
            errors |= wrong
            if len(idle) < count:
                errors["idle connections closed"] = count - len(idle)
            for connection in list(idle):
                connection.transport.close()
            await asyncio.sleep(SETTLE_S)
    figures = {
        "each_kb": each_kb[0],  # the first time: later ones reuse what was freed
        "alone": median(one for one, _ in alone),
        "beside": median(one for one, _ in beside),
        "cpu_us_alone": median(one for _, one in alone),
        "cpu_us_beside": median(one for _, one in beside),
    }
    figures["share"] = figures["beside"] / figures["alone"]
    figures["cpu_ratio"] = figures["cpu_us_beside"] / figures["cpu_us_alone"]
    return Run("idle-10000", "ours", figures, errors)


def idle(results: Results, turns: int, seconds: float, pin: bool) -> None:
    """Into `results`."""
    results.runs.append(uvloop.run(measure(COUNT, turns, seconds, pin)))


def main() -> int:
    """Exit code 1 where connections were lost or answers wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts.idle", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="idle connections (%(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="without and with (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run (%(default)s)")
    options = parser.parse_args()
    run = uvloop.run(measure(options.count, options.turns, options.seconds, can_pin()))
    for name, value in run.figures.items():
        print(f"{name:16} {value:10.3f}")
    print(f"errors {run.errors or 'none'}")
    return 1 if run.errors else 0


if __name__ == "__main__":
    sys.exit(main())
