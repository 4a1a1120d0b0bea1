"""How many jobs a gateway takes and ends, and what calls notice of them: `python -m bench.studies.jobs [count]`.

Real HTTP callers on 128 connections send jobs of a model that takes no time, each with an idempotency key of its own and an
input of its own, to one gateway with one pod; the tiers share a core, the callers and Valkey have the other one. When all are
accepted, every result is read and compared with what a call with this input is answered. Then calls at a constant rate of two
models, one of many short runs and one of few long ones, are measured alone, and while thousands of jobs wait for the same
model, in turns.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple
from urllib.request import urlopen

from bench.load.connection import http
from bench.load.open_loop import OpenLoop
from bench.paths import ROOT
from bench.servers.proc import cpu_seconds, memory_mb
from bench.servers.processes import LOAD, Group, can_pin, free_port
from bench.servers.stack import fill, pin_self, tier
from bench.studies.bad_credentials import WAITS
from tests.valkey import running_valkey

COUNT, CLIENTS = 20_000, 128
SECONDS, ROUNDS = 5.0, 5
ENDED = "inferencehub_gateway_jobs_ended_total{"
LATER = "prefer: respond-async\r\n"


class Slow(NamedTuple):
    """A model that waits: its instances, ms of a run, calls a second, and jobs that wait beside them."""

    name: str
    instances: int
    ms: int
    rate: float
    backlog: int

    @property
    def config(self) -> str:
        """Its configuration."""
        return WAITS.replace("count: 16", f"count: {self.instances}").replace('"10"', f'"{self.ms}"')


SLOW = (Slow("short", 16, 10, 250.0, 20_000), Slow("long", 4, 100, 20.0, 1000))


@contextmanager
def serving(place: Path, jobs: str, pin: bool) -> Iterator[tuple[Group, int, int]]:
    """Both tiers with a store of jobs, the gateway's port, and its ops port."""
    (place / "models").mkdir()
    fill(place / "models", {one.name: one.config for one in SLOW})
    pod, port, ops = free_port(), free_port(), free_port()
    front = {"PORT": str(port), "GRPC_SERVER_URL": f"127.0.0.1:{pod}", "HUB_JOBS": jobs}
    front |= {"HUB_OPS_PORT": str(ops)}
    group = Group(
        [
            tier("inference", {"PORT": str(pod), "HUB_MODELS": str(place / "models")}),
            tier("gateway", front),
        ],
        ROOT, place / "log", pin,
    )  # fmt: skip
    try:
        yield group, port, ops
    finally:
        group.stop()


class Answer(NamedTuple):
    """An answer; the head in lower case."""

    status: int
    head: bytes
    body: bytes

    @property
    def location(self) -> str:
        """The path of the job that it names."""
        return self.head.partition(b"location: ")[2].partition(b"\r")[0].decode()


async def each(port: int, requests: Sequence[bytes]) -> list[Answer]:
    """Send requests over some connections; their answers, in their order."""
    numbers, answers = iter(range(len(requests))), dict[int, Answer]()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            writer.write(requests[number])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
            answers[number] = Answer(int(head[9:12]), head, await reader.readexactly(size))
        writer.close()

    await asyncio.gather(*[client() for _ in range(CLIENTS)])
    return [answers[number] for number in range(len(requests))]


def body_of(number: int) -> dict[str, Any]:
    """A request with an input of its own."""
    return {"model_name": "three", "features": [number / 1000, 1.5, 0.25]}


def job(number: int) -> bytes:
    """A job with an input and a key of its own."""
    return http("POST", "/predict", body_of(number), headers=f"{LATER}idempotency-key: {number}\r\n")


async def ended(ops: int) -> float:
    """How many jobs the gateway has ended; asking for that costs its store nothing."""
    lines = [line for line in (await asyncio.to_thread(metrics, ops)).splitlines() if line.startswith(ENDED)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def metrics(ops: int) -> str:
    """All metrics of a gateway."""
    with urlopen(f"http://127.0.0.1:{ops}/metrics", timeout=10) as answer:
        return str(answer.read(), "utf-8")


async def throughput(port: int, ops: int, count: int, pids: Mapping[str, int]) -> str:
    """Send jobs, wait for their ends, and compare their results; what each process took for a job, too.

    Raises:
        SystemExit: if one was refused, or has another result.
    """
    requests = [job(number) for number in range(count)]
    before, used, began = await ended(ops), cpu_of(pids), perf_counter()
    accepted = await each(port, requests)
    all_in = perf_counter() - began
    refused = [answer for answer in accepted if answer.status != 202]
    if refused:
        raise SystemExit(f"{len(refused)} of {count} not accepted: {refused[0]}")
    while await ended(ops) - before < count:  # noqa: ASYNC110  it is another process
        await asyncio.sleep(0.05)
    all_out = perf_counter() - began
    took = {name: (now - used[name]) / count * 1e6 for name, now in cpu_of(pids).items()}
    results = await each(port, [http("GET", f"{answer.location}/result") for answer in accepted])
    called = await each(port, [http("POST", "/predict", body_of(number)) for number in range(count)])
    pairs = enumerate(zip(results, called, strict=True))
    wrong = [number for number, (result, call) in pairs if not same(result, call)]
    if wrong:
        raise SystemExit(f"{len(wrong)} of {count} results are wrong: {wrong[0]} {results[wrong[0]]}")
    each_took = ", ".join(f"{name} {micros:.0f}" for name, micros in took.items())
    return f"{count / all_in:,.0f}/s accepted, {count / all_out:,.0f}/s ended, all results right; us of CPU for a job: {each_took}"


def cpu_of(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of processes, by name."""
    return {name: cpu_seconds(pid) for name, pid in pids.items()}


def same(result: Answer, call: Answer) -> bool:
    """Whether a result is what a call with the same input is answered; the last digit may depend on the batch."""
    if (result.status, call.status) != (200, 200):
        return False
    one, other = json.loads(result.body), json.loads(call.body)
    near = abs(one["confidence"] - other["confidence"]) <= 2e-6
    return bool(one["class_id"] == other["class_id"] and near)


async def calls(port: int, model: Slow) -> float:
    """The p99 of calls, in ms."""
    request = http("POST", "/predict", {"model_name": model.name, "features": [0.5, 1.5, 0.25]})
    answers = await OpenLoop("127.0.0.1", port, [request], model.rate).run(SECONDS, 5.0)
    wrong = {answer.status for answer in answers} - {200}
    if wrong:
        raise SystemExit(f"calls got {wrong}")
    took = sorted((answer.took - answer.lag) * 1000 for answer in answers)
    return took[len(took) * 99 // 100]


async def beside_jobs(port: int, ops: int, model: Slow) -> str:
    """How much longer calls take while jobs wait for the same model, and how many of these end meanwhile."""
    ratios, alone, beside, rates = [], [], [], []
    request = http("POST", "/predict", {"model_name": model.name, "features": [1.0]}, headers=LATER)
    for _ in range(ROUNDS):
        alone.append(await calls(port, model))
        jobs = await each(port, [request] * model.backlog)
        before, began = await ended(ops), perf_counter()
        beside.append(await calls(port, model))
        rates.append((await ended(ops) - before) / (perf_counter() - began))
        ratios.append(beside[-1] / alone[-1])
        await each(port, [http("DELETE", answer.location) for answer in jobs])
        sys.stderr.write(f"calls alone p99 {alone[-1]:.2f} ms, beside jobs {beside[-1]:.2f} ms\n")
    return (
        f"{model.instances} instances of {model.ms} ms, {model.rate:.0f} calls/s: p99 {median(alone):.1f} ms alone, "
        f"{median(beside):.1f} ms beside {median(rates):.0f} jobs/s, {median(ratios):.2f} of alone"
    )


async def measure(count: int, pin: bool) -> None:
    """Print what both stores do."""
    with tempfile.TemporaryDirectory(prefix="hub-jobs-") as folder:
        async with running_valkey(Path(folder) / "valkey", appendfsync="everysec") as valkey:
            for name, store in (("sqlite", f"sqlite:{folder}/jobs.db"), ("valkey, everysec", valkey.url)):
                place = Path(folder) / name.partition(",")[0]
                place.joinpath("tiers").mkdir(parents=True)
                with serving(place / "tiers", store, pin) as (group, port, ops):
                    await until_answers(port)
                    pod, gateway = [child.pid for child in group.children]
                    pids = {"gateway": gateway, "pod": pod, "callers": os.getpid()}
                    if store == valkey.url and valkey.process is not None:
                        pids["valkey"] = valkey.process.pid
                    before = [memory_mb(child.pid, "Rss") for child in group.children]
                    said = await throughput(port, ops, count, pids)
                    after = [memory_mb(child.pid, "Rss") for child in group.children]
                    memory = ", ".join(f"{a:.0f} to {b:.0f} MB" for a, b in zip(before, after, strict=True))
                    sys.stdout.write(f"{name}: {said}; memory of pod and gateway {memory}\n")
                    if name == "sqlite":
                        for model in SLOW:
                            sys.stdout.write(f"{await beside_jobs(port, ops, model)}\n")


async def until_answers(port: int) -> None:
    """Wait until all models answer."""
    requests = [
        http("POST", "/predict", {"model_name": name, "features": [0.5, 1.5, 0.25]})
        for name in ("three", *[one.name for one in SLOW])
    ]
    for _ in range(60):
        answers = await OpenLoop("127.0.0.1", port, requests, 20.0).run(1.0, 5.0)
        if {answer.status for answer in answers} == {200}:
            return
    raise SystemExit("the tiers do not answer")


def main() -> None:
    """Measure with as many jobs as the argument says."""
    pin = can_pin()
    if pin:
        pin_self(LOAD)
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT, pin))


if __name__ == "__main__":
    main()
