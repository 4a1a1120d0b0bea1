"""The events of a job, as tests read them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from tests.hub import Hub


class Event(NamedTuple):
    """One event; `id` is "" if it has none."""

    name: str
    id: str
    data: Any


class Events:
    """A stream of events of a job, which is read one by one."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.comments = 0

    async def next(self) -> Event | None:
        """The next event; None at the end of the stream."""
        while text := await self.answer.content.readuntil(b"\n\n", max_size=2**30):
            fields = dict(line.split(": ", 1) for line in text.decode().splitlines() if ": " in line)
            if "data" in fields:
                return Event(fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"]))
            self.comments += text == b":\n\n"
        return None

    async def until(self, name: str) -> Event:
        """The next event with a name; those before it are left out."""
        while (event := await self.next()) is not None:
            if event.name == name:
                return event
        raise AssertionError(f"the stream has ended without '{name}'")

    async def rest(self) -> list[Event]:
        """All events up to the end of the stream."""
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


@asynccontextmanager
async def watched(hub: Hub, job: str, last: str = "", url: str = "", **headers: str) -> AsyncIterator[Events]:
    """The events of a job, behind an id, at a gateway; that of the hub without one."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    more = {"last-event-id": last} if last else {}
    async with hub.client.get(f"{url or hub.url}{job}/events", headers={**names, **more}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield Events(answer)


def texts(events: list[Event]) -> list[str]:
    """The texts of the answers among events, of the model of `tests/several_answers.py`."""
    return [event.data["text_output"] for event in events if event.name == "answer"]


def numbers(count: int) -> list[str]:
    """The texts that it gives if it counts so far."""
    return [str(number) for number in range(1, count + 1)]
