"""Sends recorded calls again: at their old distances in time, or as fast as they are answered."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple

import aiohttp
from yarl import URL

from inferencehub.cli.replay.recording import BadRecording, Recording
from inferencehub.core.http1.recording.line import RecordedCall

ANSWER_S = 600.0  # the longest that an answer is waited for
CONNECT_S = 10.0
GIVE_UP = 20  # calls without an answer, before which there was none
TOTAL = re.compile(r"(?:^|, )total;dur=([0-9.]+)")
OWN_HEADERS = (
    "Accept",
    "Accept-Encoding",
    "Content-Type",
    "User-Agent",
)  # of the client, which the recorded call may not have


class Answer(NamedTuple):
    """The answer to a call that was sent again.

    `headers` are by name in lower case. `error` says why there is no answer, and is "" if there is one. `seconds` is how long it
    took, and `late_s` is how much later than planned the call was sent.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    error: str
    seconds: float
    late_s: float


class NoAnswers(Exception):
    """None of the first calls has got an answer. The text says why."""


class Sender:
    """See the module's text.

    Args:
        url: of the gateway, without a path.
        tls: how the gateway's certificate is verified; True for by the authorities of the system.
        credential: sent as a bearer; "" for none.
        speed: how much faster than recorded; None for as fast as calls are answered.
        concurrency: calls that may run at a time.
        got: called with each call, where it stands, and its answer.
    """

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext | bool,
        credential: str,
        speed: float | None,
        concurrency: int,
        got: Callable[[str, RecordedCall, Answer], None],
    ) -> None:
        self._url = url.rstrip("/")
        self._tls = tls
        self._credential = credential
        self._speed = speed
        self._concurrency = concurrency
        self._got = got
        self._answered = self._failed = 0

    async def run(self, recording: Recording) -> None:
        """Send all calls, and wait for their answers.

        Raises:
            NoAnswers: if nobody answers.
            BadRecording: see `Recording.calls`.
        """
        timeout = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S)
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, skip_auto_headers=OWN_HEADERS
        ) as session:
            try:
                async with asyncio.TaskGroup() as running:
                    await self._send_all(recording, session, running)
            except BaseExceptionGroup as group:
                known, _ = group.split((NoAnswers, BadRecording))
                if known is None:
                    raise
                raise known.exceptions[0] from None

    async def _send_all(
        self, recording: Recording, session: aiohttp.ClientSession, running: asyncio.TaskGroup
    ) -> None:
        places = asyncio.Semaphore(self._concurrency)
        started, first = monotonic(), 0.0
        for where, call in recording.calls():
            first = first or call.time
            due = monotonic()
            if self._speed is not None:
                due = started + (call.time - first) / self._speed
                await asyncio.sleep(max(0.0, due - monotonic()))
            await places.acquire()
            late_s = max(0.0, monotonic() - due) if self._speed is not None else 0.0
            running.create_task(self._ask(session, places, where, call, late_s))

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        places: asyncio.Semaphore,
        where: str,
        call: RecordedCall,
        late_s: float,
    ) -> None:
        headers = dict(call.headers) | {"x-request-id": f"replay-{call.id}"[:128]}
        if self._credential:
            headers["authorization"] = f"Bearer {self._credential}"
        began = monotonic()
        try:
            async with session.request(
                call.method,
                URL(self._url + call.path, encoded=True),
                data=call.body.content(),
                headers=headers,
                allow_redirects=False,
            ) as answer:
                body = await answer.read()
                got = {name.lower(): value for name, value in answer.headers.items()}
                status, error = answer.status, ""
                self._answered += 1
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            status, got, body, error = 0, {}, b"", str(failure) or type(failure).__name__
            self._failed += 1
            if not self._answered and self._failed >= GIVE_UP:
                raise NoAnswers(error) from None
        finally:
            places.release()
        self._got(where, call, Answer(status, got, body, error, monotonic() - began, late_s))


def at_gateway(server_timing: str) -> float | None:
    """The seconds that a gateway says it took; None if it says nothing."""
    found = TOTAL.search(server_timing)
    return float(found[1]) / 1e3 if found else None
