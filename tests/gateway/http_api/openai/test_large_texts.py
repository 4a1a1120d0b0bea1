"""Large prompts and texts: nothing waits for them, nothing keeps them, and their bytes are counted as they are."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.gateway.http_api.openai.scripted import API, did, scripted
from tests.hub import Hub, eventually, running_hub, write_model
from tests.machine import slowed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]
MIB = 2**20
ROOMY: dict[str, Any] = {"max_body_bytes": 64 * MIB, "queue_bytes": 2**29}

# Waits until the test writes the file `go`, then gives a vector for each text.
WAITS = """
import os, time, numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.log = parameters["log"]

    def predict(self, inputs):
        open(self.log, "w").write("1")
        while not os.path.exists(self.log + ".go"):
            time.sleep(0.01)
        return {"embedding": np.zeros((len(inputs["input"]), 2), np.float32)}
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("models")
    scripted(found, "chat")
    scripted(found, "whole", decoupled=False)
    scripted(found, "completion", api="openai-completion")
    config = f"""backend: "python" {API % "openai-embedding"}
        input {{ name: "input" data_type: TYPE_STRING dims: [-1] }}
        output {{ name: "embedding" data_type: TYPE_FP32 dims: [-1, 2] }}
        parameters {{ key: "log" value {{ string_value: "{found / "vectors"}.log" }} }}"""
    write_model(found, "vectors", config, {"1/model.py": WAITS})
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(models: Path) -> AsyncIterator[Hub]:
    async with running_hub(models, hold_s=20.0, **ROOMY) as hub:
        yield hub


def asks(text: str) -> dict[str, dict[str, Any]]:
    """A body for each path whose model has not ended before the test lets it, with `text` in its prompt."""
    waits = {"pieces": ["a"], "times": 1000, "pause_s": 0.05}
    messages = [{"role": "user", "content": text}, {"role": "user", "content": json.dumps(waits)}]
    return {
        "/v1/chat/completions": {"model": "chat", "messages": messages},
        "/v1/completions": {"model": "completion", "prompt": json.dumps({**waits, "more": text})},
        "/v1/embeddings": {"model": "vectors", "input": [text, "b"]},
    }


@pytest.mark.parametrize("path", asks(""))
async def test_no_prompt_stays_as_text_while_the_model_works(hub: Hub, models: Path, path: str) -> None:
    mark = "remember me "
    ask = asks(mark * (2 * MIB // len(mark)))[path]
    name, body = ask["model"], json.dumps(ask).encode()
    del ask
    (models / f"{name}.log").write_text("")
    calling = asyncio.create_task(hub.post(path, body))
    await eventually(lambda: did(models, name).isdigit())
    assert [len(text) for text in long_texts() if mark in text[:200]] == []
    (models / f"{name}.log.go").touch()
    if name == "vectors":
        _, found, _ = await calling
        assert found["usage"]["prompt_tokens"] == 2 * (2 * MIB // len(mark)) + 1
    else:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await eventually(lambda: did(models, name) == "closed")


def long_texts() -> Iterator[str]:
    """All long strings to which an object refers that the collector knows, also through one that it does not know."""
    for known in gc.get_objects():
        for one in gc.get_referents(known):
            for found in (one, *(gc.get_referents(one) if isinstance(one, dict | tuple) else ())):
                if type(found) is str and len(found) > MIB:
                    yield found


async def test_usage_of_a_long_prompt(client: openai.AsyncOpenAI) -> None:
    words, script = 700_000, {"pieces": ["a ", "b"]}  # 15 tokens as JSON
    messages: Any = [
        {"role": "user", "content": "ż. " * words},
        {"role": "user", "content": json.dumps(script)},
    ]
    tokens = 2 * words + 15
    answer = await client.chat.completions.create(model="chat", messages=messages)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (tokens, 2)
    stream = await client.chat.completions.create(
        model="chat", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    used = [chunk.usage async for chunk in stream][-1]
    assert used is not None
    assert used.prompt_tokens == tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["chat", "whole"])
async def test_large_pieces_keep_their_order(client: openai.AsyncOpenAI, model: str, stream: bool) -> None:
    large = "word " * 300_000
    pieces = ["begin ", large, "then ", large, "end"]
    messages: Any = [{"role": "user", "content": json.dumps({"pieces": pieces})}]
    for body, text, why, tokens in (
        ({}, "".join(pieces), "stop", 600_003),
        ({"stop": "hen"}, "begin " + large + "t", "stop", 300_002),
        ({"max_tokens": 300_002}, "begin " + large + "then", "length", 300_002),
        ({"max_tokens": 5}, "begin word word word word", "length", 5),
    ):
        asked: dict[str, Any] = {"model": model, "messages": messages, **body}
        if stream:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
            found = [chunk async for chunk in await client.chat.completions.create(**asked)]
            said = "".join([c.choices[0].delta.content or "" for c in found if c.choices])
            reason, usage = found[-2].choices[0].finish_reason, found[-1].usage
        else:
            answer = await client.chat.completions.create(**asked)
            said, reason = answer.choices[0].message.content or "", answer.choices[0].finish_reason
            usage = answer.usage
        assert said == text
        assert usage is not None
        assert (reason, usage.completion_tokens) == (why, tokens)


async def test_many_small_pieces_are_counted_by_their_bytes(models: Path) -> None:
    """Each answer has a weight beside its text: a thousand times that of a piece, but the piece is what is held."""
    async with running_hub(models, hold_s=20.0, queue_bytes=2**24) as own:
        body = {
            "model": "chat",
            "messages": [{"role": "user", "content": json.dumps({"pieces": ["a"], "times": 40_000})}],
        }
        calling = asyncio.create_task(
            own.post("/v1/chat/completions", body, headers={"X-Request-Timeout-Ms": "300000"})
        )
        status, found, _ = await calling
        assert status == 200, found
        assert found["choices"][0]["message"]["content"] == "a" * 40_000
        assert own.gateway.bytes_held.held == 0


@pytest.mark.parametrize("pause_s", [0, 0.2])
async def test_a_caller_that_leaves_behind_large_pieces_leaves_nothing(models: Path, pause_s: float) -> None:
    """Without a pause a thread reads a piece when the caller leaves; with one the text waits for more."""
    script = {"pieces": ["a ", "b " * MIB], "times": 1000, "pause_s": pause_s}
    body = {"model": "chat", "messages": [{"role": "user", "content": json.dumps(script)}]}
    (models / "chat.log").write_text("")
    async with running_hub(models, hold_s=20.0, **ROOMY) as own:
        calling = asyncio.create_task(own.post("/v1/chat/completions", body))
        # A piece is made when those before have been added to the text.
        await eventually(lambda: did(models, "chat").isdigit() and int(did(models, "chat")) > 4)
        assert own.gateway.bytes_held.held > 2 * MIB
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await eventually(lambda: did(models, "chat") == "closed")
        await eventually(lambda: own.gateway.bytes_held.held == 0)


@pytest.mark.timing
@pytest.mark.parametrize("kind", ["prompt", "embedding", "text"])
async def test_large_texts_hold_nobody_up(hub: Hub, models: Path, kind: str) -> None:
    """One of 16 MiB of short tokens, which took some seconds."""
    (models / "vectors.log.go").touch()
    text = "a b " * (4 * MIB)
    path, body = {
        "prompt": ("/v1/chat/completions", {"model": "chat", "messages": [{"role": "user", "content": text}]}),
        "embedding": ("/v1/embeddings", {"model": "vectors", "input": text}),
        "text": ("/v1/chat/completions", {"model": "whole", "messages": [
            {"role": "user", "content": json.dumps({"pieces": [text]})}]}),
    }[kind]  # fmt: skip
    content = json.dumps(body).encode()
    calling = asyncio.create_task(hub.post(path, content, headers={"X-Request-Timeout-Ms": "300000"}))
    longest = 0.0
    while not calling.done():
        before = monotonic()
        await asyncio.sleep(0.01)
        longest = max(longest, monotonic() - before)
    status, found, _ = await calling
    assert status == 200
    assert found["usage"]["total_tokens"] >= 8 * MIB
    assert longest < slowed(1.5)
