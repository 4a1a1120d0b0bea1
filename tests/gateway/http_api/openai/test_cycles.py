"""With the garbage collector off, nothing stays of a text that ended: whole, cut, failed, or left by its caller."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.cycles import unfreed, without_collector
from tests.gateway.http_api.openai.scripted import did, scripted
from tests.hub import Hub, eventually, running_hub

pytestmark = pytest.mark.long

ENDLESS = {"pieces": ["a "], "times": 10_000_000}
CALLS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "whole": (200, {"pieces": ["a", "b"]}, {}),
    "a stop sequence": (200, ENDLESS, {"stop": "a a"}),
    "a limit": (200, ENDLESS, {"max_tokens": 5}),
    "an error": (400, {"pieces": ["a"], "error": "it is over"}, {}),
    "no text": (500, {"pieces": ["61", "ff"], "hex": True}, {}),
    "a wrong field": (400, {"pieces": []}, {"n": 2}),
    "no such model": (404, {"pieces": []}, {"model": "absent"}),
    "a deadline": (504, {"pieces": ["a"], "times": 1000, "pause_s": 0.1}, {}),
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_that_ended_leaves_nothing(tmp_path: Path, stream: bool) -> None:
    async def gone() -> dict[str, str]:
        found = {}
        async with running_hub(tmp_path, hold_s=20.0, pod={"model_grace_s": 20.0}) as hub:
            for what, (status, script, more) in CALLS.items():
                body = {"model": "chat", "messages": messages(script), "stream": stream, **more}
                await asked(hub, body, status)  # what the first call makes once is no garbage
                with without_collector():
                    for _ in range(2):
                        await asked(hub, body, status)
                    found[what] = unfreed()
        return found

    scripted(tmp_path, "chat")
    assert uvloop.run(gone()) == dict.fromkeys(CALLS, "")


async def asked(hub: Hub, body: dict[str, Any], status: int) -> None:
    """One call; a stream that has begun has the status 200."""
    late = {"X-Request-Timeout-Ms": "500" if status == 504 else "30000"}
    found, _, text = await answer(hub, body, late)
    begun = body["stream"] and b"data: " in text
    assert found == (200 if begun else status)


async def answer(hub: Hub, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, str, bytes]:
    """Status, media type and body."""
    url = f"{hub.url}/v1/chat/completions"
    async with hub.client.post(url, json=body, headers=headers) as got:
        return got.status, got.content_type, await got.read()


def messages(script: dict[str, Any]) -> list[dict[str, str]]:
    """The messages that make the model follow a script."""
    return [{"role": "user", "content": json.dumps(script)}]


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_leaves_leaves_nothing(tmp_path: Path, stream: bool) -> None:
    body = json.dumps({"model": "chat", "messages": messages(ENDLESS), "stream": stream}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)

    async def left(hub: Hub) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", hub.gateway.port)
        writer.write(head + body)
        await eventually(lambda: (tmp_path / "chat.log").exists() and did(tmp_path, "chat").isdigit())
        writer.close()
        await eventually(lambda: did(tmp_path, "chat") == "closed")
        await eventually(lambda: len(hub.gateway.http.connections) == 0)

    async def gone() -> str:
        async with running_hub(tmp_path, hold_s=20.0, pod={"model_grace_s": 20.0}) as hub:
            await left(hub)
            with without_collector():
                await left(hub)
                return unfreed()

    scripted(tmp_path, "chat")
    assert uvloop.run(gone()) == ""
