"""How many jobs a gateway takes and ends, and what calls notice of them: `python -m bench.studies.jobs [count]`.

Real HTTP callers on 64 connections send jobs of a model that takes no time, each with an idempotency key of its own and an
input of its own, to one gateway with one pod; the tiers share a core, the callers and Valkey have the other one. When all are
accepted, every result is read and compared with what a call with this input is answered. Then calls at a constant rate of a model of 10 ms
are measured alone, and while thousands of jobs wait for the same model, in turns.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from bench.load.connection import http
from bench.load.open_loop import OpenLoop
from bench.paths import ROOT
from bench.servers.proc import memory_mb
from bench.servers.processes import LOAD, Group, can_pin, free_port
from bench.servers.stack import fill, pin_self, tier
from bench.studies.bad_credentials import WAITS
from tests.valkey import running_valkey

COUNT, CLIENTS = 20_000, 64
RATE, SECONDS, ROUNDS, BACKLOG = 250.0, 5.0, 5, 20_000
ENDED = "inferencehub_gateway_jobs_ended_total{"
LATER = "prefer: respond-async\r\n"


@contextmanager
def serving(place: Path, jobs: str, pin: bool) -> Iterator[tuple[Group, int, int]]:
    """Both tiers with a store of jobs, the gateway's port, and its ops port."""
    (place / "models").mkdir()
    fill(place / "models", {"waits": WAITS})
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
    (answer,) = await each(ops, [http("GET", "/metrics")])
    lines = [line for line in answer.body.decode().splitlines() if line.startswith(ENDED)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def throughput(port: int, ops: int, count: int) -> str:
    """Send jobs, wait for their ends, and compare their results.

    Raises:
        SystemExit: if one was refused, or has another result.
    """
    before, began = await ended(ops), perf_counter()
    accepted = await each(port, [job(number) for number in range(count)])
    all_in = perf_counter() - began
    refused = [answer for answer in accepted if answer.status != 202]
    if refused:
        raise SystemExit(f"{len(refused)} of {count} not accepted: {refused[0]}")
    while await ended(ops) - before < count:  # noqa: ASYNC110  it is another process
        await asyncio.sleep(0.05)
    all_out = perf_counter() - began
    results = await each(port, [http("GET", f"{answer.location}/result") for answer in accepted])
    called = await each(port, [http("POST", "/predict", body_of(number)) for number in range(count)])
    pairs = enumerate(zip(results, called, strict=True))
    wrong = [number for number, (result, call) in pairs if not same(result, call)]
    if wrong:
        raise SystemExit(f"{len(wrong)} of {count} results are wrong: {wrong[0]} {results[wrong[0]]}")
    return f"{count / all_in:,.0f}/s accepted, {count / all_out:,.0f}/s ended, all results right"


def same(result: Answer, call: Answer) -> bool:
    """Whether a result is what a call with the same input is answered; the last digit may depend on the batch."""
    if (result.status, call.status) != (200, 200):
        return False
    one, other = json.loads(result.body), json.loads(call.body)
    near = abs(one["confidence"] - other["confidence"]) <= 2e-6
    return bool(one["class_id"] == other["class_id"] and near)


async def calls(port: int) -> float:
    """The p99 of calls, in ms."""
    request = http("POST", "/predict", {"model_name": "waits", "features": [0.5, 1.5, 0.25]})
    answers = await OpenLoop("127.0.0.1", port, [request], RATE).run(SECONDS, 5.0)
    wrong = {answer.status for answer in answers} - {200}
    if wrong:
        raise SystemExit(f"calls got {wrong}")
    took = sorted((answer.took - answer.lag) * 1000 for answer in answers)
    return took[len(took) * 99 // 100]


async def beside_jobs(port: int) -> str:
    """How much longer calls take while jobs wait for the same model."""
    ratios, alone, beside = [], [], []
    request = http("POST", "/predict", {"model_name": "waits", "features": [1.0]}, headers=LATER)
    for _ in range(ROUNDS):
        alone.append(await calls(port))
        jobs = await each(port, [request] * BACKLOG)
        beside.append(await calls(port))
        ratios.append(beside[-1] / alone[-1])
        await each(port, [http("DELETE", answer.location) for answer in jobs])
        sys.stderr.write(f"calls alone p99 {alone[-1]:.2f} ms, beside jobs {beside[-1]:.2f} ms\n")
    return f"p99 {median(alone):.2f} ms alone, {median(beside):.2f} ms beside jobs, {median(ratios):.2f} of alone"


async def measure(count: int, pin: bool) -> None:
    """Print what both stores do."""
    with tempfile.TemporaryDirectory(prefix="hub-jobs-") as folder:
        async with running_valkey(Path(folder) / "valkey", appendfsync="everysec") as valkey:
            for name, store in (("sqlite", f"sqlite:{folder}/jobs.db"), ("valkey, everysec", valkey.url)):
                place = Path(folder) / name.partition(",")[0]
                place.joinpath("tiers").mkdir(parents=True)
                with serving(place / "tiers", store, pin) as (group, port, ops):
                    await until_answers(port)
                    before = [memory_mb(child.pid, "Rss") for child in group.children]
                    said = await throughput(port, ops, count)
                    after = [memory_mb(child.pid, "Rss") for child in group.children]
                    memory = ", ".join(f"{a:.0f} to {b:.0f} MB" for a, b in zip(before, after, strict=True))
                    sys.stdout.write(f"{name}: {said}; memory of pod and gateway {memory}\n")
                    if name == "sqlite":
                        sys.stdout.write(f"calls of 10 ms, {RATE:.0f}/s: {await beside_jobs(port)}\n")


async def until_answers(port: int) -> None:
    """Wait until both models answer."""
    requests = [
        http("POST", "/predict", {"model_name": name, "features": [0.5, 1.5, 0.25]})
        for name in ("three", "waits")
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
