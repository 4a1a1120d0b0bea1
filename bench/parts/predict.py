"""Requests a second and latency of both tiers alone: `python -m bench.parts.predict --model three --clients 1,64`."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from bench.load.clients import Load
from bench.load.samples import samples_of
from bench.report.machine import machine
from bench.servers.stack import Stack, running_stack

BUSY = 0.9  # share of a core from which on the clients may be what is measured


@dataclass(frozen=True, slots=True)
class Row:
    """One run. CPU is in shares of one core: the gateway's, the pod's, the clients'."""

    model: str
    clients: int
    rate: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    errors: dict[str, int]
    cpu: tuple[float, ...]

    def cpu_us(self) -> str:
        """What a request costs each of them, in microseconds of CPU: steadier than the rate on a busy machine."""
        return " + ".join(f"{share * 1e6 / self.rate:.0f}" for share in self.cpu) if self.rate else "-"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts.predict", description=__doc__)
    parser.add_argument("--model", default="three,digits", help="models, with commas (%(default)s)")
    parser.add_argument("--clients", default="1,64", help="numbers of clients, with commas (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before it (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, of which the median is shown")
    parser.add_argument("--url", help="a gateway that runs; without it both tiers are started")
    parser.add_argument("--pin", action="store_true", help="both tiers on core 0, the clients on core 1")
    parser.add_argument("--json", type=Path, help="write all runs here, with machine, versions and date")
    return parser.parse_args()


async def measure(stack: Stack, model: str, clients: int, options: argparse.Namespace) -> Row:
    """One run."""
    samples = await samples_of(stack.host, stack.port, model)
    load = Load(stack.host, stack.ports, samples, clients)
    title = f"{model}, {clients} clients"
    result = await load.run(options.warm_up, options.seconds, stack.cpu_seconds, title)
    p50, p90, p99 = [round(result.ms(share), 3) for share in (0.5, 0.9, 0.99)]
    cpu = tuple(round(share, 3) for share in result.cpu)
    return Row(model, clients, round(result.rate, 1), p50, p90, p99, dict(result.errors), cpu)


def table(rows: list[Row]) -> str:
    """The median run of each model and number of clients, and how far the runs were apart."""
    head = f"{'model':12} {'clients':>7} {'req/s':>9} {'spread':>7} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8} {'errors':>6}"
    lines = [f"{head}  {'cpu us/request':>17}"]
    for key in dict.fromkeys((row.model, row.clients) for row in rows):
        runs = sorted((row for row in rows if (row.model, row.clients) == key), key=lambda row: row.rate)
        row = runs[(len(runs) - 1) // 2]
        spread = (runs[-1].rate - runs[0].rate) / row.rate if row.rate else 0.0
        errors = sum(sum(run.errors.values()) for run in runs)
        lines.append(
            f"{row.model:12} {row.clients:7} {row.rate:9.1f} {spread:7.0%} {row.p50_ms:8.2f} {row.p90_ms:8.2f} "
            f"{row.p99_ms:8.2f} {errors:6}  {row.cpu_us():>17}"
        )
    return "\n".join(lines)


def warnings(rows: list[Row]) -> list[str]:
    """Warnings for the reader of the table."""
    said = [
        f"{row.model}, {row.clients} clients: the load took {row.cpu[-1]:.0%} of a core, so it may be what is measured"
        for row in rows
        if row.cpu[-1] > BUSY
    ]
    return said + [f"{row.model}, {row.clients} clients: {row.errors}" for row in rows if row.errors]


async def main() -> int:
    """All runs, round by round, so that a slow minute of the machine falls on all alike."""
    options = arguments()
    about = machine()
    stacks: AbstractContextManager[Stack] = running_stack(pin=options.pin)
    if options.url:
        parts = urlsplit(options.url)
        stacks = nullcontext(Stack(parts.hostname or "127.0.0.1", (parts.port or 80,)))
    models, clients = options.model.split(","), [int(count) for count in options.clients.split(",")]
    rows: list[Row] = []
    with stacks as stack:
        for model in models:
            await stack.until_ready(model)
        if stack.children:
            gateway, pod = stack.children
            print(f"gateway is process {gateway.pid}, pod is process {pod.pid}", file=sys.stderr)
        for _ in range(options.runs):
            for model in models:
                for count in clients:
                    rows.append(await measure(stack, model, count, options))
    print(table(rows))
    for warning in warnings(rows):
        print(f"! {warning}")
    if options.json:
        report = {**about, "pinned": options.pin, "seconds": options.seconds}
        options.json.write_text(json.dumps({**report, "runs": [asdict(row) for row in rows]}, indent=1))
    return 1 if any(row.errors for row in rows) else 0


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
