"""Chat and completions with OpenAI's own client: what comes, in which pieces, and what the model gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionChunk

from inferencehub.gateway.http_api.routes import endpoints
from tests.gateway.http_api.openai.scripted import did, scripted
from tests.hub import Hub, eventually, running_hub

pytestmark = pytest.mark.asyncio(loop_scope="module")
COMPLETION = "openai-completion"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("models")
    scripted(found, "chat")
    scripted(found, "counting", counts=True)
    scripted(found, "whole", decoupled=False, more="max_batch_size: 4")
    scripted(found, "completion", api=COMPLETION)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(models: Path) -> AsyncIterator[Hub]:
    async with running_hub(models, hold_s=20.0) as hub:
        yield hub


def says(*pieces: str, **script: Any) -> Any:
    """The messages, or the prompt, that make a model say these pieces."""
    return [{"role": "user", "content": json.dumps({"pieces": pieces, **script})}]


async def chunks(client: openai.AsyncOpenAI, model: str = "chat", **body: Any) -> list[ChatCompletionChunk]:
    """All chunks of a chat."""
    return [chunk async for chunk in await client.chat.completions.create(model=model, stream=True, **body)]


def deltas(found: list[ChatCompletionChunk]) -> list[str]:
    """The pieces of text in chunks."""
    return [c.choices[0].delta.content for c in found if c.choices and c.choices[0].delta.content]


def reason(found: list[ChatCompletionChunk]) -> str | None:
    """The only reason of an end in chunks, which must be in the last one that has a choice."""
    *others, last = [chunk.choices[0].finish_reason for chunk in found if chunk.choices]
    assert not any(others)
    return last


async def shown(client: openai.AsyncOpenAI, model: str, **body: Any) -> tuple[str | None, str, int]:
    """Text, reason and number of tokens of an answer, which must be the same whole and as a stream."""
    whole = await client.chat.completions.create(model=model, **body)
    found = await chunks(client, model, **body, stream_options={"include_usage": True})
    assert whole.usage is not None
    assert found[-1].usage == whole.usage
    assert "".join(deltas(found)) == whole.choices[0].message.content
    assert reason(found) == whole.choices[0].finish_reason
    return whole.choices[0].message.content, whole.choices[0].finish_reason, whole.usage.completion_tokens


async def test_a_whole_answer(client: openai.AsyncOpenAI, hub: Hub) -> None:
    answer = await client.chat.completions.create(
        model="chat", messages=says("Good ", "day, ", "żółw."), extra_headers={"X-Request-Id": "mine"}
    )
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Good day, żółw.")
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (answer.object, answer.model, answer.id) == ("chat.completion", "chat", "chatcmpl-mine")
    assert answer._request_id == "mine"
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 5 + answer.usage.prompt_tokens)


async def test_the_other_clients_read_the_same(hub: Hub) -> None:
    def ask() -> tuple[str | None, list[str | None]]:
        with openai.OpenAI(base_url=f"{hub.url}/v1", api_key="any", max_retries=0) as client:
            whole = client.chat.completions.create(model="chat", messages=says("a ", "b"))
            stream = client.chat.completions.create(model="chat", messages=says("a ", "b"), stream=True)
            return whole.choices[0].message.content, [c.choices[0].delta.content for c in stream]

    assert await asyncio.to_thread(ask) == ("a b", ["", "a ", "b", None])


async def test_chunks_have_role_content_reason_and_usage(client: openai.AsyncOpenAI, hub: Hub) -> None:
    found = await chunks(client, messages=says("a ", "b"), stream_options={"include_usage": True})
    first, one, two, last, used = found
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert [c.choices[0].delta.content for c in (one, two, last)] == ["a ", "b", None]
    assert [c.choices[0].finish_reason for c in (first, one, two, last)] == [None, None, None, "stop"]
    assert used.choices == []
    assert used.usage is not None
    assert used.usage.completion_tokens == 2
    assert {(c.id, c.object, c.model, c.created) for c in found} == {
        (first.id, "chat.completion.chunk", "chat", first.created)
    }
    assert not any(chunk.usage for chunk in await chunks(client, messages=says("a")))
    body = {"model": "chat", "messages": says("a"), "stream": True}
    async with hub.client.post(f"{hub.url}/v1/chat/completions", json=body) as answer:
        assert answer.content_type == "text/event-stream"
        assert answer.headers["x-served-by"] == f"127.0.0.1:{hub.pods[0].port}"
        *events, done, end = (await answer.text()).split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert all("usage" not in json.loads(event.removeprefix("data: ")) for event in events)


async def test_the_model_gets_messages_and_parameters(client: openai.AsyncOpenAI) -> None:
    messages: Any = [
        {"role": "system", "content": "be brief", "name": "boss"},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [], "audio": None},
        {"role": "user", "content": [{"type": "text", "text": '{"show":1,'}, {"type": "text", "text": '"pieces":[]}'}]},
    ]  # fmt: skip
    answer = await client.chat.completions.create(
        model="chat", messages=messages, temperature=0.5, seed=7, max_completion_tokens=900, stop="ż", user="u", n=1,
        reasoning_effort="low", extra_body={"top_k": 3, "nested": {"a": [None, 1e300]}, "top_p": None},
    )  # fmt: skip
    given = json.loads(answer.choices[0].message.content or "")
    assert json.loads(given["messages"]) == [
        {"role": "system", "content": "be brief", "name": "boss"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": '{"show":1,\n"pieces":[]}'},
    ]
    assert json.loads(given["parameters"]) == {
        "temperature": 0.5, "seed": 7, "max_tokens": 900, "stop": ["ż"], "reasoning_effort": "low", "top_k": 3,
        "nested": {"a": [None, 1e300]},
    }  # fmt: skip
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 2 + 0 + 14


@pytest.mark.parametrize("model", ["chat", "whole"])
async def test_stop_sequences_and_limits_cut_the_text(client: openai.AsyncOpenAI, model: str) -> None:
    pieces = ("one ", "two th", "ree, four", ". Five")
    for body, text, why, tokens in (
        ({}, "one two three, four. Five", "stop", 7),
        ({"stop": "three"}, "one two ", "stop", 2),
        ({"stop": [".", "our"]}, "one two three, f", "stop", 5),
        ({"stop": ["threes", "no"]}, "one two three, four. Five", "stop", 7),
        ({"max_tokens": 3}, "one two three", "length", 3),
        ({"max_completion_tokens": 4}, "one two three,", "length", 4),
        ({"max_tokens": 100, "max_completion_tokens": 1}, "one", "length", 1),
        ({"max_tokens": 2, "stop": "three"}, "one two", "length", 2),
        ({"max_tokens": 7}, "one two three, four. Five", "length", 7),
    ):
        assert await shown(client, model, messages=says(*pieces), **body) == (text, why, tokens), body


async def test_counts_and_reasons_of_the_model_hold(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="counting", messages=says("a", "b", "c"))
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        42,
        30,
        72,
    )
    for finish, body, expected in (
        ("length", {}, ("abc", "length", 30)),
        ("content_filter", {}, ("abc", "content_filter", 30)),
        ("", {}, ("abc", "stop", 30)),
        ("stop", {"max_tokens": 20}, ("ab", "length", 20)),
        ("stop", {"max_tokens": 25}, ("abc", "length", 30)),
        ("stop", {"max_tokens": 30}, ("abc", "length", 30)),
        ("content_filter", {"max_tokens": 30}, ("abc", "length", 30)),
        ("stop", {"max_tokens": 31}, ("abc", "stop", 30)),
        ("length", {"stop": "c"}, ("ab", "stop", 30)),
        ("stop", {"stop": "cd"}, ("abc", "stop", 30)),
    ):
        script = says("a", "b", "c", finish=finish)
        assert await shown(client, "counting", messages=script, **body) == expected, (finish, body)


async def test_a_character_may_come_in_two_pieces(client: openai.AsyncOpenAI, hub: Hub) -> None:
    whole = "aż🐢".encode().hex()
    halves = says(*[whole[place : place + 2] for place in range(0, len(whole), 2)], hex=True)
    assert (await shown(client, "chat", messages=halves))[0] == "aż🐢"
    for bad, pieces in ((says("61", "ff", hex=True), ["a"]), (says("61", "c5", hex=True), ["a"])):
        with pytest.raises(openai.InternalServerError, match="gave a text that is no UTF-8"):
            await client.chat.completions.create(model="chat", messages=bad)
        body = {"model": "chat", "messages": bad, "stream": True}
        async with hub.client.post(f"{hub.url}/v1/chat/completions", json=body) as answer:
            *events, last, _ = [event[6:] for event in (await answer.text()).split("\n\n")]
        assert [json.loads(event)["choices"][0]["delta"]["content"] for event in events] == ["", *pieces]
        assert "gave a text that is no UTF-8" in json.loads(last)["error"]["message"]


async def test_a_model_that_says_nothing(client: openai.AsyncOpenAI) -> None:
    assert await shown(client, "chat", messages=says()) == ("", "stop", 0)
    assert await shown(client, "chat", messages=says("", "")) == ("", "stop", 0)


async def test_completions(client: openai.AsyncOpenAI) -> None:
    script = json.dumps({"pieces": ["a ", "b ", "c"]})
    answer = await client.completions.create(model="completion", prompt=[script], max_tokens=2)
    (choice,) = answer.choices
    assert (choice.text, choice.index, choice.finish_reason, choice.logprobs) == ("a b", 0, "length", None)
    assert (answer.object, answer.id[:5]) == ("text_completion", "cmpl-")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2
    stream = await client.completions.create(
        model="completion", prompt=script, stream=True, stop="c", stream_options={"include_usage": True}
    )
    *parts, used = [chunk async for chunk in stream]
    assert [(p.choices[0].text, p.choices[0].finish_reason) for p in parts] == [
        ("a ", None), ("b ", None), ("", "stop"),
    ]  # fmt: skip
    assert used.choices == []
    assert used.usage is not None
    assert used.usage.completion_tokens == 2
    shown = await client.completions.create(
        model="completion", prompt='{"show":1,"pieces":[]}', temperature=0
    )
    assert json.loads(json.loads(shown.choices[0].text)["parameters"]) == {"temperature": 0}


async def test_the_first_chunk_comes_before_the_second_piece_is_made(
    client: openai.AsyncOpenAI, models: Path, tmp_path: Path
) -> None:
    script = says("a", "b", "c", go=str(tmp_path / "go"))
    stream = await client.chat.completions.create(model="chat", messages=script, stream=True)
    seen = []
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            seen.append((chunk.choices[0].delta.content, did(models, "chat")))
            (tmp_path / f"go{len(seen)}").touch()
    assert seen == [("a", "1"), ("b", "2"), ("c", "3")]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("model", "body"),
    [("chat", {"stop": "b"}), ("chat", {"max_tokens": 5}), ("counting", {"max_tokens": 50})],
)
async def test_what_is_enough_closes_the_generator(
    client: openai.AsyncOpenAI, models: Path, hub: Hub, model: str, body: dict[str, Any], stream: bool
) -> None:
    script = says("a ", "a ", "a ", "a ", "b ", times=10_000_000)
    before = await counted(hub, model)
    answer: Any = await client.chat.completions.create(model=model, messages=script, stream=stream, **body)
    found = answer.choices[0].message.content if not stream else "".join(deltas([c async for c in answer]))
    assert found == {"b": "a a a a "}.get(body.get("stop", ""), "a a a a b" + " " * (model == "counting"))
    await eventually(lambda: did(models, model) == "closed")
    after = await counted(hub, model)
    assert (after["success"]["count"], after["fail"]["count"]) == (
        before["success"]["count"] + 1,
        before["fail"]["count"],
    )


async def counted(hub: Hub, model: str) -> Any:
    """The statistics of a model's calls."""
    _, found, _ = await hub.get(f"/v2/models/{model}/stats")
    return found["model_stats"][0]["inference_stats"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_that_hangs_up_closes_the_generator(
    client: openai.AsyncOpenAI, models: Path, stream: bool
) -> None:
    script = says("a", times=10_000_000)
    if stream:
        answer: Any = await client.chat.completions.create(model="chat", messages=script, stream=True)
        async for chunk in answer:
            if chunk.choices[0].delta.content:
                break
        await answer.close()
    else:
        asking = asyncio.create_task(client.chat.completions.create(model="chat", messages=script))
        await eventually(lambda: did(models, "chat").isdigit() and int(did(models, "chat")) > 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await eventually(lambda: did(models, "chat") == "closed")
    assert deltas(await chunks(client, messages=says("free"))) == ["free"]


async def test_a_reader_that_stops_holds_the_model(hub: Hub, models: Path) -> None:
    """Also where most pieces show nothing, because they may begin a stop sequence."""
    body = json.dumps(
        {
            "model": "chat",
            "stream": True,
            "stop": "x" * 9,
            "messages": says("y" * 500 + "x", "x", times=10_000_000),
        }
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.gateway.port, limit=4096)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-request-timeout-ms: 300000\r\n"
    writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)

    async def rests() -> bool:
        before = did(models, "chat")
        await asyncio.sleep(0.5)
        return before == did(models, "chat") and before.isdigit()

    async with asyncio.timeout(60):
        while not await rests():
            pass
    resting = int(did(models, "chat"))
    async with asyncio.timeout(60):
        while int(did(models, "chat")) == resting:
            assert await reader.read(2**16)
    writer.transport.abort()
    await eventually(lambda: did(models, "chat") == "closed")


@pytest.mark.long
async def test_a_comment_keeps_a_silent_stream_open(models: Path) -> None:
    async with running_hub(models, hold_s=20.0) as own:
        own.gateway.edge.find = endpoints(own.gateway.calls, keep_alive_s=0.1)
        body = {"model": "chat", "stream": True, "messages": says("a", "b", pause_s=1)}
        async with own.client.post(f"{own.url}/v1/chat/completions", json=body) as answer:
            *blocks, end = (await answer.text()).split("\n\n")
    assert ":" in blocks
    assert end == ""
    events = [block for block in blocks if block != ":"]
    assert [json.loads(event[6:])["choices"][0]["delta"].get("content") for event in events[:-1]] == [
        "", "a", "b", None,
    ]  # fmt: skip


async def test_a_whole_text_is_held_within_bounds(models: Path) -> None:
    async with running_hub(models, hold_s=20.0, max_body_bytes=2**20, queue_bytes=2**28) as own:
        body = {"model": "chat", "messages": says("x" * 200_000, times=1000)}
        status, found, _ = await own.post("/v1/chat/completions", body)
        assert (status, found["error"]["type"], found["error"]["code"]) == (
            500,
            "server_error",
            "model_failed",
        )
        assert "gave a text of more than " in found["error"]["message"]
        await eventually(lambda: did(models, "chat") == "closed")
        await eventually(lambda: own.gateway.bytes_held.held == 0)
        assert (await own.post("/v1/chat/completions", {**body, "messages": says("y")}))[0] == 200
        assert own.gateway.bytes_held.held == 0
