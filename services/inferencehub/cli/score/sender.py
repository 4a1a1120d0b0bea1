"""Sends rows in bounded calls, and gives their answers back in order.

Each call asks to become a job (RFC 7240's respond-async), with the lowest priority: a gateway that has jobs lets the calls of
others go before, and one that has none answers as usual. Where it says 429 or 503, nothing is sent for as long as it says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from time import monotonic

from inferencehub.cli.client import Answer, Client, Refused, Unreachable
from inferencehub.cli.score.tables import Row
from inferencehub.cli.score.tensors import BadRow, Fill, answer_rows

HEADERS = {"prefer": "respond-async, wait=60", "x-job-priority": "0", "content-type": "application/json"}
AGAIN = (429, 503)  # nothing ran
OF_ROWS = (400, 413, 500, 501, 504)  # the fault of what was sent, or of the model
PAUSE_S = (0.5, 30.0)  # the first pause where the gateway names none, and the longest
GIVE_UP_S = 600.0  # a call that finds no gateway and no room for so long ends the run


class Sender:
    """Calls one model.

    Args:
        client: of the gateway.
        path: of the model.
        fill: how rows become its inputs.
        rows: that a call has, at most.
        calls: that run at a time, at most.
        error: the column for what is wrong with a row.

    `paused_s` is the sum of pauses that the gateway asked for.
    """

    def __init__(self, client: Client, path: str, fill: Fill, rows: int, calls: int, error: str) -> None:
        self._error = error
        self.paused_s = 0.0
        self._client = client
        self._path = f"{path}/infer"
        self._fill = fill
        self._rows = max(1, min(rows, fill.max_batch_size))
        self._calls = calls
        self._free_at = 0.0

    async def answers(self, rows: Iterator[Row]) -> AsyncIterator[list[tuple[Row, Row]]]:
        """The rows with their answers, some at a time, in their order; the column `error` alone for one that failed.

        Raises:
            Refused: if the gateway refuses all calls: no such model, no right.
            Unreachable: if it gives no answer for long.
        """
        running: deque[asyncio.Task[list[tuple[Row, Row]]]] = deque()
        try:
            while some := list(islice(rows, self._rows)):
                running.append(asyncio.create_task(self._both(some)))
                if len(running) == self._calls:
                    yield await running.popleft()
            while running:
                yield await running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _both(self, rows: list[Row]) -> list[tuple[Row, Row]]:
        return list(zip(rows, await self._scored(rows), strict=True))

    async def _scored(self, rows: Sequence[Row]) -> list[Row]:
        """The answers to some rows; one by one if they fail together, so that only the bad row fails."""
        try:
            answer = await self._ask(self._fill.request(rows))
            return answer_rows(answer.json(), len(rows), bool(self._fill.max_batch_size))
        except Refused as error:
            if error.status not in OF_ROWS:
                raise
            said = str(error)
        except (BadRow, ValueError, KeyError, TypeError) as error:
            said = str(error)
        if len(rows) == 1:
            return [{self._error: said}]
        return [answer for row in rows for answer in await self._scored([row])]

    async def _ask(self, body: bytes) -> Answer:
        began, pause_s = monotonic(), PAUSE_S[0]
        while True:
            await asyncio.sleep(max(0.0, self._free_at - monotonic()))
            try:
                return await self._result(await self._client.ask("POST", self._path, body, HEADERS))
            except (Refused, Unreachable) as error:
                if isinstance(error, Refused) and error.status not in AGAIN:
                    raise
                if monotonic() - began > GIVE_UP_S:
                    raise
                wait_s = pause_s if isinstance(error, Unreachable) or error.retry_s is None else error.retry_s
            now, until = monotonic(), monotonic() + wait_s
            self.paused_s += max(0.0, until - max(now, self._free_at))
            self._free_at = max(self._free_at, until)  # for all calls: others would hear the same
            pause_s = min(2 * pause_s, PAUSE_S[1])

    async def _result(self, answer: Answer) -> Answer:
        """The answer itself, or that of the job which the call became; nothing is left of the job."""
        job = answer.headers.get("location", "")
        if not job:
            return answer
        try:
            while answer.status == 202:
                answer = await self._client.ask("GET", f"{job}/result?wait=60")
            return answer
        finally:
            with suppress(Refused, Unreachable):  # the answer is there; the job goes at its own time
                await self._client.ask("DELETE", job)
