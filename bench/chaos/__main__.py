"""Whether jobs are lost when what runs them is killed or frozen: `python -m bench.chaos [case ...]`.

Callers send 200 jobs a second of 1 KB, each with a key of its own, to two gateways with two pods; Valkey keeps them, and
writes each step to the disk before it answers. Meanwhile one of them is killed with SIGKILL and started again, or stands still for
60 s, or all of both tiers are replaced one after the other. At the end every result is read and compared. The model
writes down what it runs, so runs are counted, and compared with the attempts that the job says. `--seconds` says how
long the callers send, `--rate` how many a second.

Cases that begin with "sqlite" have one gateway, which keeps jobs in a file. Those that begin with "poison" send a job that
kills its pod, and kill the gateways where `kill` says so: with the first pod, or while the second one runs the job.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp

from bench.chaos.callers import Callers
from bench.chaos.tiers import Tiers

FROZEN_S, GONE_S = 60.0, 3.0
MOST_KEPT = 3  # failures that are printed
Act = Callable[[Tiers], Awaitable[None]]


async def kill_gateway(tiers: Tiers) -> None:
    """Kill a gateway, and start it again."""
    await tiers.gateways[0].kill()
    await asyncio.sleep(GONE_S)
    tiers.gateways[0].start()
    await tiers.gateways[0].ready("/v2/models/counts/ready")


async def kill_pod(tiers: Tiers) -> None:
    """Kill a pod, and start it again."""
    await tiers.pods[0].kill()
    await asyncio.sleep(GONE_S)
    tiers.pods[0].start()


async def kill_store(tiers: Tiers) -> None:
    """Kill the store, and start it again."""
    assert tiers.valkey is not None
    await tiers.valkey.stop(signal.SIGKILL)
    await asyncio.sleep(GONE_S)
    await tiers.valkey.start()


async def freeze_gateway(tiers: Tiers) -> None:
    """Let a gateway stand still."""
    await tiers.gateways[0].freeze(FROZEN_S)


async def freeze_pod(tiers: Tiers) -> None:
    """Let a pod stand still."""
    await tiers.pods[0].freeze(FROZEN_S)


async def freeze_store(tiers: Tiers) -> None:
    """Let the store stand still."""
    assert tiers.valkey is not None
    assert tiers.valkey.process is not None
    tiers.valkey.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(FROZEN_S)
    tiers.valkey.process.send_signal(signal.SIGCONT)


async def roll_out(tiers: Tiers) -> None:
    """Replace all of both tiers, one after the other."""
    for server in (*tiers.pods, *tiers.gateways):
        await server.terminate()
        server.start()
        await tiers.gateways[-1 if server is not tiers.gateways[-1] else 0].ready("/v2/models/counts/ready")
        await asyncio.sleep(GONE_S)
    await tiers.gateways[-1].ready("/v2/models/counts/ready")


CASES: dict[str, Act] = {
    "kill-gateway": kill_gateway,
    "kill-pod": kill_pod,
    "kill-store": kill_store,
    "freeze-gateway": freeze_gateway,
    "freeze-pod": freeze_pod,
    "freeze-store": freeze_store,
    "roll-out": roll_out,
    "sqlite-kill-gateway": kill_gateway,
    "sqlite-freeze-gateway": freeze_gateway,
    "sqlite-roll-out": roll_out,
}
POISON = ("poison", "poison-kill-first", "poison-kill-second")
COLUMNS = (
    "case", "accepted", "answered", "run twice (said)", "lost", "wrong", "refused tries", "accepted, p99 s, max s",
    "slowest end s",
)  # fmt: skip


async def under_load(name: str, place: Path, rate: float, seconds: float) -> tuple[str, ...]:
    """A row of the table."""
    sqlite = name.startswith("sqlite")
    tiers = Tiers(place, 1 if sqlite else 2, 2, sqlite)
    try:
        await tiers.start()
        callers, over = Callers([one.port for one in tiers.gateways], "counts"), asyncio.Event()

        async def act() -> None:
            await asyncio.sleep(min(seconds / 4, 30.0))
            await CASES[name](tiers)
            await asyncio.sleep(10.0)
            over.set()

        await asyncio.gather(callers.send(rate, seconds, over), act())
        read = await callers.read()
        runs = Counter(int(line) for line in tiers.runs.read_text().split())
    finally:
        await tiers.stop()
    twice = [number for number in callers.accepted if runs[number] > 1]
    said = [number for number in twice if read.attempts.get(number, 0) >= runs[number]]
    for text in [*read.lost[:MOST_KEPT], *read.wrong[:MOST_KEPT]]:
        sys.stderr.write(f"{name}: {text}\n")
    if callers.given_up:
        callers.refused["given up"] = len(callers.given_up)
    took = sorted(one.took_s for one in callers.accepted.values())
    return (
        name,
        f"{len(callers.accepted):,}",
        f"{read.right + len(read.wrong):,}",
        f"{len(twice)} ({len(said)})",
        str(len(read.lost)),
        str(len(read.wrong)),
        ", ".join(f"{count} {why}" for why, count in callers.refused.items()) or "0",
        f"{took[len(took) * 99 // 100]:.2f}, {took[-1]:.1f}",
        f"{read.slowest_s:.0f}",
    )


async def poison(name: str, place: Path) -> str:
    """How many pods a job kills that kills its pod."""
    tiers = Tiers(place, 2, 4, sqlite=False)
    try:
        await tiers.start()
        async with aiohttp.ClientSession() as client:
            path = f"http://127.0.0.1:{tiers.gateways[0].port}/v2/models/kills/infer"
            body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [0]}]}
            async with client.post(path, json=body, headers={"prefer": "respond-async"}) as answer:
                job = answer.headers["location"]
            if name != "poison":
                await tiers.pod_lost()
                await asyncio.sleep(0.5 if name == "poison-kill-second" else 0.0)
                for gateway in tiers.gateways:
                    await gateway.kill()
                    gateway.start()
            record: Any = {"state": "queued"}
            for _ in range(120):
                await asyncio.sleep(1.0)
                try:
                    url = f"http://127.0.0.1:{tiers.gateways[0].port}{job}"
                    async with client.get(url) as answer:
                        record = await answer.json()
                except aiohttp.ClientError:
                    continue
                if record.get("state") not in ("queued", "running"):
                    break
            await asyncio.sleep(5.0)  # it would run again now
        killed = len(tiers.kills.read_text().split())
        dead = sum(not pod.alive for pod in tiers.pods)
    finally:
        await tiers.stop()
    said = f"{record.get('state')} after {record.get('attempts')} attempts, {record.get('error')}"
    return f"{name}: {killed} runs killed {dead} of 4 pods; {said}"


async def study(names: list[str], rate: float, seconds: float) -> None:
    """Run cases one after the other."""
    sys.stdout.write(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n")
    for name in names:
        with tempfile.TemporaryDirectory(prefix="hub-chaos-", ignore_cleanup_errors=True) as folder:
            if name in POISON:
                said = await poison(name, Path(folder))
            else:
                said = f"| {' | '.join(await under_load(name, Path(folder), rate, seconds))} |"
        sys.stdout.write(f"{said}\n")
        sys.stdout.flush()


def main() -> None:
    """Run the cases that the arguments name, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", nargs="*", metavar="case", help=", ".join((*CASES, *POISON)))
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--rate", type=float, default=200.0)
    chosen = parser.parse_args()
    if unknown := set(chosen.case) - {*CASES, *POISON}:
        parser.error(f"no such case: {', '.join(unknown)}")
    work: Coroutine[Any, Any, None] = study(chosen.case or [*CASES, *POISON], chosen.rate, chosen.seconds)
    asyncio.run(work)


if __name__ == "__main__":
    main()
