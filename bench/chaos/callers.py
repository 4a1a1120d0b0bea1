"""Callers of jobs as they should be: each job has a key, and is sent again with it until some gateway has said that it is kept.

What a gateway accepted is noted, and at the end every result is read and compared with the right one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import uniform
from time import monotonic
from typing import Any, NamedTuple

import aiohttp

TRY_S = 8.0  # a gateway that says nothing for so long is left for another one
AVOID_S = 2.0  # for which a gateway that did not answer is asked only if all are so
PATIENCE_S = 180.0  # for which a caller tries, and for which a result is waited for
WIDTH = 120  # numbers of an input: about 1 KB of JSON
READERS = 32
PAGE = 100  # jobs of a list


class Accepted(NamedTuple):
    """A job that a gateway has accepted: its path, and how long that took, with all tries."""

    path: str
    took_s: float


@dataclass
class Read:
    """What came out of jobs. `attempts` and `slowest_s`, from the acceptance to the end, are as the gateway says."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    slowest_s: float = 0.0


class Callers:
    """See the module's text.

    Args:
        ports: of the gateways.
        model: what they call.
    """

    def __init__(self, ports: Sequence[int], model: str) -> None:
        self._ports = ports
        self._path = f"/v2/models/{model}/infer"
        self._bad: dict[int, float] = {}
        self.accepted: dict[int, Accepted] = {}
        self.refused: Counter[str] = Counter()  # tries, by what came of them
        self.given_up: list[int] = []

    async def send(self, rate: float, seconds: float, until: asyncio.Event) -> None:
        """Send at a constant rate for so long, and until the event is set; return once all are accepted."""
        began = monotonic()
        async with self._client() as client, asyncio.TaskGroup() as group:
            number = 0
            while monotonic() - began < seconds or not until.is_set():
                number += 1
                await asyncio.sleep(max(0.0, began + number / rate - monotonic()))
                group.create_task(self._submit(client, number))

    async def _submit(self, client: aiohttp.ClientSession, number: int) -> None:
        tensor = {"name": "x", "shape": [WIDTH], "datatype": "FP32", "data": [number, *[0.25] * (WIDTH - 1)]}
        headers = {"prefer": "respond-async", "idempotency-key": str(number)}
        began, tries = monotonic(), 0
        while monotonic() - began < PATIENCE_S:
            tries += 1
            status, found, _ = await self._ask(
                client, number + tries, "POST", self._path, headers, {"inputs": [tensor]}
            )
            if status in (200, 202):
                self.accepted[number] = Accepted(found["location"], monotonic() - began)
                return
            if status not in (0, 429, 503):  # nothing that comes again
                break
            await asyncio.sleep(float(found.get("retry-after", min(0.1 * 2**tries, 5.0) * uniform(0.5, 1.0))))
        self.given_up.append(number)

    async def _ask(
        self, client: aiohttp.ClientSession, turn: int, method: str, path: str, headers: Any, body: Any = None
    ) -> tuple[int, Any, Any]:
        """Status, headers and JSON of an answer of one of the gateways; status 0 if there was none."""
        now = monotonic()
        good = [port for port in self._ports if self._bad.get(port, 0.0) <= now] or self._ports
        port = good[turn % len(good)]
        try:
            async with client.request(
                method, f"http://127.0.0.1:{port}{path}", json=body, headers=headers
            ) as answer:
                found = await answer.json(content_type=None)
                if answer.status not in (200, 202, 410):
                    self.refused[str(answer.status)] += 1
                return answer.status, answer.headers, found
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._bad[port] = monotonic() + AVOID_S
            self.refused["no answer" if isinstance(error, TimeoutError) else "no connection"] += 1
            return 0, {}, None

    async def read(self) -> Read:
        """Read and compare the results of all that was accepted, and what the jobs say of themselves."""
        said, numbers = Read(), iter(list(self.accepted))

        async def reader(client: aiohttp.ClientSession) -> None:
            for number in numbers:
                await self._read(client, number, said)

        async with self._client() as client:
            await asyncio.gather(*[reader(client) for _ in range(READERS)])
            await self._look(client, said)
        return said

    async def _read(self, client: aiohttp.ClientSession, number: int, said: Read) -> None:
        path, turn, status, ends = self.accepted[number].path, number, 0, monotonic() + PATIENCE_S
        result: Any = None
        while status in (0, 202, 429, 503) and monotonic() < ends:
            turn += 1
            status, _, result = await self._ask(client, turn, "GET", f"{path}/result?wait=2", {})
            if status in (0, 429, 503):
                await asyncio.sleep(0.2)
        if status != 200:
            said.lost.append(f"{number}: {status} {result}")
        elif result["outputs"][0]["data"] != [2 * number + 1, *[1.5] * (WIDTH - 1)]:
            said.wrong.append(f"{number}: {result['outputs'][0]['data'][:3]}")
        else:
            said.right += 1

    async def _look(self, client: aiohttp.ClientSession, said: Read) -> None:
        """Ask for the list of all jobs, page by page."""
        numbers = {one.path.rpartition("/")[2]: number for number, one in self.accepted.items()}
        path, turn, ends = f"/v2/jobs?limit={PAGE}", 0, monotonic() + PATIENCE_S
        cursor: str | None = ""
        while cursor is not None and monotonic() < ends:
            turn += 1
            status, _, found = await self._ask(client, turn, "GET", f"{path}&cursor={cursor}", {})
            if status != 200:
                await asyncio.sleep(0.2)
                continue
            cursor = found.get("cursor")
            for job in found["jobs"]:
                if job["id"] in numbers and job["ended"]:
                    said.attempts[numbers[job["id"]]] = job["attempts"]
                    took = datetime.fromisoformat(job["ended"]) - datetime.fromisoformat(job["created"])
                    said.slowest_s = max(said.slowest_s, took.total_seconds())

    def _client(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TRY_S), connector=aiohttp.TCPConnector(limit=0)
        )
