"""What traces cost a request: `python -m bench.studies.traces`.

Gateways in front of one pod, which differ only in their traces: none, none once more (to see the noise), all left out by
the sampler, one in a hundred kept, all kept. h2load asks them in turns, so all see the same machine; the tiers share a core, and h2load and the collector have
the other one. The collector reads what comes and drops it. What counts is the CPU time of the gateway and the pod for each
request, as a ratio to the gateway without traces in the same turn.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from bench.load.h2load import ask_http
from bench.load.questions import predict
from bench.paths import MODELS, ROOT
from bench.servers.processes import LOAD, Command, Group, can_pin, free_port
from bench.servers.stack import Stack, tier

MODEL, CLIENTS = "three", 64
ROOMY = {"OTEL_BSP_MAX_QUEUE_SIZE": "20000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2000"}
GATEWAYS: Mapping[str, Mapping[str, str]] = {
    "none": {},
    "none too": {},
    "left out": {"OTEL_TRACES_SAMPLER": "always_off"},
    "one in 100": {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
    "all": {"OTEL_TRACES_SAMPLER": "always_on"},
}


class Sink(BaseHTTPRequestHandler):
    """A collector that reads and drops."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take a request."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def counted(ops_port: int) -> dict[str, float]:
    """Calls of a gateway by what became of their spans."""
    with urlopen(f"http://127.0.0.1:{ops_port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith("inferencehub_gateway_traced_calls_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in found}


def main(turns: int, seconds: int) -> None:
    """Ask in turns, and print what each gateway took."""
    pin = can_pin()
    if pin:
        os.sched_setaffinity(0, {LOAD})
    pod, sink = free_port(), free_port()
    ports = {name: free_port() for name in GATEWAYS}
    ops = {name: free_port() for name in GATEWAYS}
    with tempfile.TemporaryDirectory(prefix="hub-traces-") as folder:
        repository = Path(folder, "models")
        repository.mkdir()
        (repository / MODEL).symlink_to(MODELS / MODEL)
        commands = [tier("inference", {"PORT": str(pod), "HUB_MODELS": str(repository)})]
        for name, more in GATEWAYS.items():
            where = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink}", **ROOMY} if more else {}
            own = {"PORT": str(ports[name]), "HUB_OPS_PORT": str(ops[name])}
            commands.append(tier("gateway", {**own, "GRPC_SERVER_URL": f"127.0.0.1:{pod}", **where, **more}))
        argv = [sys.executable, "-m", "bench.studies.traces", "--sink", str(sink)]
        commands.append(Command(argv, {"PYTHONPATH": str(ROOT)}, "sink", [LOAD] if pin else []))
        group = Group(commands, ROOT, Path(folder, "log"), pin)
        try:
            stack = Stack("127.0.0.1", tuple(ports.values()), "", tuple(group.children))
            asyncio.run(stack.until_ready(MODEL))
            ask(stack, ports, turns, seconds)
            for name in GATEWAYS:
                print(f"{name}: {counted(ops[name])}")
        finally:
            group.stop()


def ask(stack: Stack, ports: Mapping[str, int], turns: int, seconds: int) -> None:
    """Ask all gateways in turns."""
    took: dict[str, list[float]] = {name: [] for name in ports}
    rates: dict[str, list[float]] = {name: [] for name in ports}
    waited: dict[str, list[float]] = {name: [] for name in ports}
    question = predict(MODEL)[0]
    for _ in range(turns):
        for at, (name, port) in enumerate(ports.items()):

            def used(at: int = at) -> float:
                every = stack.cpu_seconds()
                return every[0] + every[1 + at]

            seen = ask_http(port, question, CLIENTS, seconds, used)
            if seen.errors:
                raise SystemExit(f"{name}: {seen.errors}")
            took[name].append(seen.figures()["cpu_us"])
            rates[name].append(seen.rate)
            waited[name].append(seen.p99_ms)
    print("traces      CPU µs a request  ratio  requests/s  p99 ms")
    for name in ports:
        ratio = median(one / none for one, none in zip(took[name], took["none"], strict=True))
        figures = f"{median(took[name]):16.1f}  {ratio:5.3f}  {median(rates[name]):10.0f}"
        print(f"{name:10}  {figures}  {median(waited[name]):6.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--sink", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.sink:
        ThreadingHTTPServer(("127.0.0.1", chosen.sink), Sink).serve_forever()
    else:
        main(chosen.turns, chosen.seconds)
