"""What a scrape of metrics costs, and how long calls wait for it: `python -m bench.studies.scrapes`.

One gateway in front of one pod with 1, 10 and 50 models, each of which has answered with several statuses on both fronts. Then
calls come at a constant rate, alone and while the gateway is scraped once a second, in turns; the tiers share a core, and this
program has the other one. `--tree` runs the services of another checkout. At last, how long a scrape holds an event loop: the
CPU time of the longest pass, of a port with as many metrics in this process, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import grpc

from bench.load.connection import http
from bench.load.open_loop import OpenLoop
from bench.paths import ROOT
from bench.servers.proc import cpu_seconds
from bench.servers.processes import LOAD, Group, can_pin, free_port
from bench.servers.stack import Stack, mock_config, pin_self, tier
from inferencehub.core.process.ops_port import OpsServer
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.metrics import Metrics
from inferencehub.pb import inference_pb2 as pb

MODELS, DELAY_MS = (1, 10, 50), 3.0
SCRAPES, ROUNDS, RATE, SECONDS = 20, 3, 200.0, 5.0
ACCEPT = {
    "text": "text/plain;version=0.0.4",
    "OpenMetrics": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
}


class Tiers(NamedTuple):
    """Both tiers: the ports of the gateway, its ops port and the pod's, and what both are."""

    http: int
    grpc: int
    ops: tuple[int, int]
    stack: Stack


def names(count: int) -> list[str]:
    """The models."""
    return [f"model-{number}" for number in range(count)]


@contextmanager
def serving(models: Sequence[str], tree: Path, pin: bool) -> Iterator[Tiers]:
    """Both tiers with these models."""
    with tempfile.TemporaryDirectory(prefix="hub-scrapes-") as folder:
        repository = Path(folder, "models")
        for name in models:
            (repository / name / "1").mkdir(parents=True)
            (repository / name / "config.pbtxt").write_text(mock_config(DELAY_MS, 1))
        pod, port, calls = free_port(), free_port(), free_port()
        front = {"PORT": str(port), "HUB_GRPC_PORT": str(calls), "GRPC_SERVER_URL": f"127.0.0.1:{pod}"}
        commands = [
            tier("gateway", front, tree),
            tier("inference", {"PORT": str(pod), "HUB_MODELS": str(repository)}, tree),
        ]
        group = Group(commands, tree, Path(folder, "log"), pin)
        try:
            stack = Stack("127.0.0.1", (port,), children=tuple(group.children))
            asyncio.run(stack.until_ready(models[-1]))
            gateway, inference = (int(command.environ["HUB_OPS_PORT"]) for command in commands)
            yield Tiers(port, calls, (gateway, inference), stack)
        finally:
            group.stop()


async def fill(tiers: Tiers, models: Sequence[str]) -> None:
    """Let each model answer with 200, 400 and 504 over HTTP, and with 200 over gRPC.

    Raises:
        SystemExit: if answers have other statuses.
    """
    for features, headers, status in (
        ([1.0], "", 200),
        (["no number"], "", 400),
        ([1.0], "x-request-timeout-ms: 1\r\n", 504),
    ):
        bodies = [{"model_name": name, "features": features} for name in models]
        requests = [http("POST", "/predict", body, headers=headers) for body in bodies]
        answers = await OpenLoop("127.0.0.1", tiers.http, requests, 100.0).run(len(requests) / 100, 10.0)
        if {answer.status for answer in answers} != {status}:
            raise SystemExit(f"expected {status}, got {answers[0]}")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{tiers.grpc}") as channel:
        predict: Any = channel.unary_unary("/inference.ModelInference/Predict")
        for name in models:
            await predict(pb.PredictRequest(features=[1.0], model_name=name).SerializeToString())


def scrape(port: int, accept: str) -> int:
    """The bytes of a scrape."""
    request = Request(f"http://127.0.0.1:{port}/metrics", headers={"accept": accept})
    with urlopen(request, timeout=60) as answer:
        return len(answer.read())


def cost(port: int, pid: int, accept: str) -> str:
    """What a scrape takes of a process that does nothing else."""
    before, times = cpu_seconds(pid), []
    for _ in range(SCRAPES):
        began = perf_counter()
        size = scrape(port, accept)
        times.append(perf_counter() - began)
    cpu = (cpu_seconds(pid) - before) / SCRAPES
    return f"{size / 1e6:.2f} MB, {cpu * 1000:.1f} ms of CPU, {median(times) * 1000:.1f} ms in all"


async def calls(port: int) -> tuple[float, float]:
    """The p99 and the longest time of calls, in ms."""
    request = http("POST", "/predict", {"model_name": "model-0", "features": [1.0]})
    answers = await OpenLoop("127.0.0.1", port, [request], RATE).run(SECONDS, 10.0)
    if {answer.status for answer in answers} != {200}:
        raise SystemExit("calls fail")
    took = sorted((answer.took - answer.lag) * 1000 for answer in answers)
    return took[len(took) * 99 // 100], took[-1]


def waits(tiers: Tiers) -> str:
    """How long calls take, alone and while they are scraped."""
    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(asyncio.run(calls(tiers.http)))
        over = threading.Event()
        thread = threading.Thread(target=each_second, args=(tiers.ops[0], over))
        thread.start()
        beside.append(asyncio.run(calls(tiers.http)))
        over.set()
        thread.join()
    figures = [
        f"p99 {median(p99 for p99, _ in found):.1f} ms, longest {median(most for _, most in found):.1f}"
        for found in (alone, beside)
    ]
    return f"{figures[0]}; scraped each second {figures[1]}"


def each_second(port: int, over: threading.Event) -> None:
    """Scrape until it is over."""
    while not over.wait(1.0):
        scrape(port, ACCEPT["OpenMetrics"])


async def held(count: int) -> float:
    """The CPU time of the longest pass of an event loop that is scraped, in ms; the median of some scrapes."""
    metrics = Metrics()
    for name in names(count):
        lane = metrics.lane(name)
        lane.queue_wait.observe(0.1)
        call = Exchange("1")
        call.model = name
        for status in (200, 400, 504):
            metrics.http.answered(call, status, 0.1)
        metrics.grpc.answered(call, 200, 0.1)
    server = OpsServer(0, metrics.registry, lambda: "", {})
    await server.start()
    longest = []
    for _ in range(SCRAPES):
        scraping = asyncio.ensure_future(asyncio.to_thread(scrape, server.port, ACCEPT["OpenMetrics"]))
        most, last = 0.0, thread_time()
        while not scraping.done():
            await asyncio.sleep(0)
            most, last = max(most, thread_time() - last), thread_time()
        longest.append(most * 1000)
    await server.stop(0)
    return median(longest)


def main(counts: Sequence[int], tree: Path) -> None:
    """Measure, and print."""
    pin = can_pin()
    if pin:
        pin_self(LOAD)
    for count in counts:
        models = names(count)
        with serving(models, tree, pin) as tiers:
            asyncio.run(fill(tiers, models))
            for name, ops, child in zip(("gateway", "pod"), tiers.ops, tiers.stack.children, strict=True):
                for kind, accept in ACCEPT.items():
                    print(f"{count:3} models, {name}, {kind}: {cost(ops, child.pid, accept)}")
            print(f"{count:3} models, calls of {DELAY_MS:g} ms, {RATE:g}/s: {waits(tiers)}")
        print(f"{count:3} models: a scrape holds the loop for {asyncio.run(held(count)):.1f} ms at most")
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", type=int, nargs="*", default=MODELS)
    parser.add_argument("--tree", type=Path, default=ROOT)
    chosen = parser.parse_args()
    main(chosen.models, chosen.tree)
