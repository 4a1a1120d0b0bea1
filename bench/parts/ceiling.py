"""Compares the throughput of a model that only waits with the maximum for its slots: `python -m bench.parts.ceiling`.

The maximum (the ceiling) is the number of slots divided by the delay. The difference is time in which a slot was empty
while requests waited. The clients start one after another, spread over the time that the slots need for one request of
each client. So answers come evenly, and the ends of the measurement window cut off nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass

import uvloop

from bench.load.clients import Load
from bench.load.samples import samples_of
from bench.report.results import Results, Run
from bench.servers.processes import can_pin
from bench.servers.stack import mock_config, running_stack

GOAL = 0.99
WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class Shape:
    """How much of everything there is; `slots` are those of one pod."""

    name: str
    pods: int
    gateways: int
    clients: int
    slots: int = 100
    delay_ms: float = 500.0

    @property
    def ceiling(self) -> float:
        """Requests a second that the slots allow."""
        return self.pods * self.slots / self.delay_ms * 1000


SHAPES = (
    Shape("ceiling-1-pod", pods=1, gateways=1, clients=200),
    Shape("ceiling-3-pods", pods=3, gateways=1, clients=600),
    Shape("ceiling-2-gateways", pods=3, gateways=2, clients=600),
)


async def measure(shape: Shape, seconds: float, pin: bool) -> Run:
    """One run."""
    more = {"waits": mock_config(shape.delay_ms, shape.slots)}
    delay_s = shape.delay_ms / 1000
    with running_stack(more, pin, shape.pods, shape.gateways) as stack:
        await stack.until_ready("waits")
        await asyncio.sleep(WARM_UP_S)  # every gateway has found every pod
        samples = await samples_of(stack.host, stack.port, "waits")
        load = Load(stack.host, stack.ports, samples, shape.clients)
        ramp_s = delay_s * shape.clients / (shape.slots * shape.pods)
        result = await load.run(WARM_UP_S, seconds, stack.cpu_seconds, shape.name, ramp_s)
        await asyncio.sleep(delay_s)
    figures = {
        "rate": result.rate,
        "share": result.rate / shape.ceiling,
        "p50_ms": result.ms(0.5),
        "p99_ms": result.ms(0.99),
        "cpu_share": sum(result.cpu[:-1]),
        "load_busy": result.cpu[-1],
    }
    return Run(shape.name, "ours", figures, dict(result.errors))


def ceilings(results: Results, rounds: int, seconds: float, pin: bool) -> None:
    """All shapes, round by round, into `results`."""
    for _ in range(rounds):
        results.runs += [uvloop.run(measure(shape, seconds, pin)) for shape in SHAPES]


def main() -> int:
    """One shape; exit code 1 below the goal."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts.ceiling", description=__doc__)
    parser.add_argument("--pods", type=int, default=1, help="how many (%(default)s)")
    parser.add_argument("--gateways", type=int, default=1, help="that share them (%(default)s)")
    parser.add_argument(
        "--slots", type=int, default=100, help="instances of the model in a pod (%(default)s)"
    )
    parser.add_argument("--delay-ms", type=float, default=500.0, help="how long each run takes (%(default)s)")
    parser.add_argument("--clients", type=int, default=200, help="closed-loop clients (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the window (%(default)s)")
    parser.add_argument("--pin", action="store_true", help="both tiers on core 0, the clients on core 1")
    options = parser.parse_args()
    if options.pin and not can_pin():
        parser.error("--pin needs Linux and two cores")
    shape = Shape("ceiling", options.pods, options.gateways, options.clients, options.slots, options.delay_ms)
    run = uvloop.run(measure(shape, options.seconds, options.pin))
    seen = run.figures
    lost_ms = (1 / seen["share"] - 1) * shape.delay_ms if seen["share"] else float("inf")
    print(
        f"{seen['rate']:.1f} of {shape.ceiling:.1f} requests/s: {seen['share']:.2%} of the ceiling (goal {GOAL:.0%}); "
        f"a slot stood empty for {lost_ms:.1f} ms a turn"
    )
    print(
        f"p50 {seen['p50_ms']:.0f} ms, p99 {seen['p99_ms']:.0f} ms, errors {run.errors or 'none'}, cpu of both tiers "
        f"{seen['cpu_share']:.0%} and of the load {seen['load_busy']:.0%}"
    )
    return 0 if seen["share"] >= GOAL and not run.errors else 1


if __name__ == "__main__":
    sys.exit(main())
