"""Constant load on a gateway, every answer checked, so that a test can break things underneath."""

from __future__ import annotations

import asyncio
from collections import Counter
from hashlib import blake2b
from itertools import count
from struct import pack
from time import monotonic
from typing import Self

import aiohttp


def drawn(*features: float) -> tuple[int, float]:
    """What the mock model answers, worked out from its documentation: a draw keyed by seed 0 and the input's bytes."""
    digest = blake2b(pack(f"<{len(features)}f", *features), key=b"0", digest_size=16).digest()
    number = int.from_bytes(digest, "little")
    return number % 5, (85 + (number >> 64) % 15) / 100


class Load:
    """Workers that each send one request after the other: `async with Load(url, "quick", 16) as load`.

    Args:
        url: of the gateway.
        model: a mock model with one FP32 input.
        workers: requests at a time.
        timeout_s: each request's deadline.
    """

    def __init__(self, url: str, model: str = "quick", workers: int = 16, timeout_s: float = 30.0) -> None:
        self.url = url
        self.model = model
        self.workers = workers
        self.headers = {"x-request-timeout-ms": str(round(timeout_s * 1000))}
        self.good = 0
        self.failed: list[str] = []
        self.first_failure = 0.0  # when; monotonic
        self.served: Counter[str] = Counter()
        self.first: dict[str, float] = {}  # by pod, when its first answer came
        self.longest_gap = 0.0
        self.slowest = 0.0
        self._numbers = count()
        self._last = monotonic()
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    def __str__(self) -> str:
        return (
            f"{self.good} answered, {len(self.failed)} failed {self.failed[:3]}, longest gap {self.longest_gap:.2f} s, "
            f"slowest {self.slowest:.2f} s, {dict(self.served)}"
        )

    async def _work(self, client: aiohttp.ClientSession) -> None:
        while not self._ending:
            number = float(next(self._numbers))
            began = monotonic()
            try:
                body = {"features": [number, 0.5], "model_name": self.model}
                async with client.post(f"{self.url}/predict", json=body, headers=self.headers) as answer:
                    found, pod = await answer.json(), answer.headers.get("x-served-by", "")
                    said = (found["class_id"], found["confidence"])
                    right = answer.status == 200 and said == drawn(number, 0.5)
            except (aiohttp.ClientError, OSError) as error:
                right, pod, found = False, "", repr(error)
            now = monotonic()
            self.longest_gap = max(self.longest_gap, now - self._last)
            self.slowest = max(self.slowest, now - began)
            self._last = now
            if right:
                self.good += 1
                self.served[pod] += 1
                self.first.setdefault(pod, now)
            else:
                self.first_failure = self.first_failure or now
                self.failed.append(str(found))
                await asyncio.sleep(0.05)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0)
        self._client = aiohttp.ClientSession(connector=connector)
        self._last = monotonic()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._work(self._client)) for _ in range(self.workers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        await asyncio.gather(*self._tasks)
        await self._client.close()
        print(self)
