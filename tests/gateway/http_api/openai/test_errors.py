"""Errors as OpenAI's client raises them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.gateway.http_api.openai.asking import HELLO, message, one_refused, refused
from tests.gateway.http_api.openai.scripted import API, did, scripted, text
from tests.hub import Hub, eventually, mock_model, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("models")
    scripted(found, "chat")
    scripted(found, "counting", counts=True)
    scripted(found, "completion", api="openai-completion")
    mock_model(found, "odd", more=API % "openai-chat")
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(models: Path) -> AsyncIterator[Hub]:
    async with running_hub(models, hold_s=5.0) as hub:
        yield hub


async def test_each_status_becomes_its_exception(client: openai.AsyncOpenAI, hub: Hub) -> None:
    missing = await refused(client, model="absent")
    assert isinstance(missing, openai.NotFoundError)
    assert (missing.code, missing.param) == ("model_not_found", "model")
    odd = await refused(client, model="odd")
    assert (type(odd), odd.status_code, odd.code) == (openai.InternalServerError, 501, "unsupported")
    assert message(odd) == "model 'odd' has the parameter api \"openai-chat\", but has no input 'messages'"
    fails: Any = [{"role": "user", "content": json.dumps({"pieces": [], "error": "it is too odd"})}]
    bad = await refused(client, messages=fails)
    assert (type(bad), message(bad)) == (openai.BadRequestError, "model 'chat': it is too odd")
    bug: Any = [{"role": "user", "content": json.dumps({"pieces": [], "error": "oh", "bug": True})}]
    failed = await refused(client, messages=bug)
    assert (type(failed), failed.type, failed.code) == (
        openai.InternalServerError,
        "server_error",
        "model_failed",
    )
    late: Any = [{"role": "user", "content": json.dumps({"pieces": ["a"] * 100, "pause_s": 1})}]
    slow = await one_refused(client, {"messages": late, "extra_headers": {"X-Request-Timeout-Ms": "500"}})
    assert (type(slow), slow.status_code, slow.code) == (openai.InternalServerError, 504, "deadline")
    async with hub.client.get(f"{hub.url}/v1/chat/completions") as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert (await answer.json())["error"]["code"] == "wrong_method"
    for body, said in (
        (b"", "the body is empty"),
        (b"[]", "the body is not as expected: expected"),
        (b'{"a":NaN}', "expected a JSON object, but"),
    ):
        status, found, _ = await hub.post("/v1/completions", body)
        assert (status, found["error"]["message"][: len(said)]) == (400, said)
        assert (found["error"]["type"], found["error"]["param"]) == ("invalid_request_error", None)


async def test_what_would_fail_again_is_not_asked_again(hub: Hub, models: Path) -> None:
    """The client as it is calls twice more, unless it is told that this is of no use."""
    bug: Any = [{"role": "user", "content": json.dumps({"pieces": [], "error": "oh", "bug": True})}]
    late: Any = [{"role": "user", "content": json.dumps({"pieces": ["a"] * 100, "pause_s": 1})}]
    asked: list[int] = []

    async def count(response: Any) -> None:
        asked.append(response.status_code)

    async with (
        openai.DefaultAsyncHttpxClient(event_hooks={"response": [count]}) as http,
        openai.AsyncOpenAI(base_url=f"{hub.url}/v1", api_key="any", http_client=http) as client,
    ):
        for stream in (False, True):
            for body, status in (
                ({"messages": bug}, 500),
                ({"model": "odd"}, 501),
                ({"messages": late, "extra_headers": {"X-Request-Timeout-Ms": "500"}}, 504),
            ):
                if stream and status == 504:
                    continue  # it comes as an event
                asked.clear()
                error = await one_refused(client, {**body, "stream": stream})
                assert asked == [error.status_code] == [status]
                assert error.response.headers["x-should-retry"] == "false"


async def test_what_is_too_large_or_too_much_has_its_exception(models: Path) -> None:
    small: dict[str, Any] = {"max_body_bytes": 10_000, "queue_length": 1, "hold_s": 5.0}
    async with (
        running_hub(models, **small) as own,
        openai.AsyncOpenAI(base_url=f"{own.url}/v1", api_key="any", max_retries=0) as client,
    ):
        large = await one_refused(client, {"messages": [{"role": "user", "content": "x" * 20_000}]})
        assert (large.status_code, large.type, large.code) == (413, "invalid_request_error", "too_large")
        waits: Any = [
            {"role": "user", "content": json.dumps({"pieces": ["a"], "times": 10**6, "pause_s": 0.1})}
        ]
        asking = [asyncio.create_task(chat(client, waits)) for _ in range(30)]
        done, running = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        error = next(iter(done)).exception()
        assert isinstance(error, openai.RateLimitError)
        assert (error.type, error.code) == ("rate_limit_error", "rate_limit_exceeded")
        assert error.response.headers["retry-after"]
        assert "x-should-retry" not in error.response.headers
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await eventually(lambda: did(models, "chat") == "closed")


async def chat(client: openai.AsyncOpenAI, messages: Any) -> None:
    """A call whose answer nobody looks at."""
    await client.chat.completions.create(model="chat", messages=messages)


async def read(client: openai.AsyncOpenAI, messages: Any, seen: list[str | None]) -> None:
    """Read a stream; what came is in `seen`."""
    async for chunk in await client.chat.completions.create(model="chat", messages=messages, stream=True):
        seen.append(chunk.choices[0].delta.content)


async def test_a_later_error_is_an_event(client: openai.AsyncOpenAI, hub: Hub) -> None:
    messages: Any = [{"role": "user", "content": json.dumps({"pieces": ["a", "b"], "error": "it is over"})}]
    seen: list[str | None] = []
    with pytest.raises(openai.APIError, match="model 'chat': it is over") as raised:
        await read(client, messages, seen)
    assert seen == ["", "a", "b"]
    error = {
        "message": "model 'chat': it is over",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert raised.value.body == error
    body = {"model": "chat", "messages": messages, "stream": True}
    async with hub.client.post(f"{hub.url}/v1/chat/completions", json=body) as answer:
        *_, last, end = (await answer.text()).split("\n\n")
    assert (json.loads(last.removeprefix("data: ")), end) == ({"error": error}, "")


async def test_a_reason_that_openai_does_not_have_is_the_models_fault(client: openai.AsyncOpenAI) -> None:
    messages: Any = [{"role": "user", "content": json.dumps({"pieces": ["a"], "finish": "tired"})}]
    error = await one_refused(client, {"model": "counting", "messages": messages})
    assert (error.status_code, error.code) == (500, "model_failed")
    assert "gave the finish_reason 'tired', expected stop, length" in error.message


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (f"input {text('messages')} output {text('answer')}", "has no output 'text'"),
        (f"input {text('prompt')} output {text('text')}", "has no input 'messages'"),
        (f"input {text('messages')} input {text('more')} output {text('text')}",
         "has input 'more', expected it to be optional"),
        (f"input {text('messages').replace('[1]', '[2]')} output {text('text')}",
         "has input 'messages' with dims [2], expected [1]"),
        (f"input {text('messages')} output {text('text').replace('[1]', '[-1]')}",
         "has output 'text' with dims [-1], expected [1]"),
        (f"input {text('messages').replace('STRING', 'UINT8')} output {text('text')}",
         "has input 'messages' of UINT8, expected BYTES"),
        (f"input {text('messages')} output {text('text')} output {text('completion_tokens')}",
         "has output 'completion_tokens' of BYTES, expected INT32, INT64, UINT32, UINT64"),
    ],
)  # fmt: skip
async def test_a_model_that_does_not_keep_the_contract(tmp_path: Path, config: str, said: str) -> None:
    source = "class Model:\n    def __init__(self, d, p): pass\n    def predict(self, inputs): return {}\n"
    write_model(tmp_path, "odd", f'backend: "python" {API % "openai-chat"} {config}', {"1/model.py": source})
    async with running_hub(tmp_path, hold_s=5.0) as own:
        status, found, _ = await own.post("/v1/chat/completions", {"model": "odd", "messages": HELLO})
        assert (status, found["error"]["message"]) == (
            501,
            f"model 'odd' has the parameter api \"openai-chat\", but {said}",
        )


async def test_what_is_nested_deeply_is_the_callers_mistake_or_the_models(hub: Hub) -> None:
    """Around the depth that the interpreter can still read, but not write or show."""
    hello = json.dumps(HELLO)
    for depth in [100, *range(900, 1010, 2), 5000]:
        lists = "[" * depth + "]" * depth
        objects = '{"a":' * depth + "1" + "}" * depth
        for fields in (
            f'"messages":{hello},"top_k":{lists}',
            f'"messages":{hello},"top_k":{objects}',
            f'"messages":{hello},"tools":{lists}',
            f'"messages":{hello},"temperature":{objects}',
            f'"messages":{lists}',
            f'"messages":[{{"role":"user","content":{lists}}}]',
        ):
            body = f'{{"model":"chat",{fields}}}'.encode()
            status, found, _ = await hub.post("/v1/chat/completions", body)
            assert status in (200, 400), (depth, fields[:40], found)
