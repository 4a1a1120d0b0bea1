"""Errors as OpenAI's client raises them, and the fields that are refused, ignored or the model's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.gateway.http_api.openai.scripted import API, did, scripted, text
from tests.hub import Hub, eventually, mock_model, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("models")
    scripted(found, "chat")
    scripted(found, "simple", parameters=False)
    scripted(found, "whole", decoupled=False)
    scripted(found, "counting", counts=True)
    scripted(found, "completion", api="openai-completion")
    scripted(found, "none", api="")
    mock_model(found, "odd", more=API % "openai-chat")
    mock_model(found, "other", more=API % "openai-speech")
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(models: Path) -> AsyncIterator[Hub]:
    async with running_hub(models, hold_s=5.0) as hub:
        yield hub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(hub: Hub) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{hub.url}/v1", api_key="any", max_retries=0) as client:
        yield client


async def refused(client: openai.AsyncOpenAI, **body: Any) -> openai.APIStatusError:
    """The error of a chat, which must be the same for a stream."""
    errors = []
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as raised:
            await client.chat.completions.create(
                **{"model": "chat", "messages": HELLO, "stream": stream, **body}
            )
        errors.append(raised.value)
    assert errors[0].body == errors[1].body
    assert type(errors[0]) is type(errors[1])
    return errors[0]


def message(error: openai.APIStatusError) -> str:
    """The sentence of an error."""
    assert isinstance(error.body, dict)
    said: str = error.body["message"]
    return said


@pytest.mark.parametrize(
    ("body", "param", "value"),
    [
        ({"n": 2}, "n", "2"),
        ({"n": True}, "n", "True"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "[{'type'"),
        ({"tool_choice": "required"}, "tool_choice", "'required'"),
        ({"functions": [{"name": "f"}]}, "functions", "[{'name'"),
        ({"function_call": {"name": "f"}}, "function_call", "{'name'"),
        ({"response_format": {"type": "json_object"}}, "response_format", "{'type'"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format", "{'type'"),
        ({"logprobs": True}, "logprobs", "True"),
        ({"top_logprobs": 2}, "top_logprobs", "2"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "{'5': 1}"),
        ({"modalities": ["text", "audio"]}, "modalities", "['text', 'audio']"),
        ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio", "{'voice'"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction", "{'type'"),
        ({"web_search_options": {}}, "web_search_options", "{}"),
    ],
)  # fmt: skip
async def test_what_would_change_the_answer_is_refused_by_its_name(
    client: openai.AsyncOpenAI, body: dict[str, Any], param: str, value: str
) -> None:
    error = await refused(client, **body)
    assert isinstance(error, openai.BadRequestError)
    assert (error.param, error.code, error.type) == (param, "unsupported_parameter", "invalid_request_error")
    assert message(error).startswith(f"'{param}' is not supported, expected ")
    assert f", got {value}" in message(error)


async def test_what_changes_nothing_is_taken(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="chat", messages=HELLO, n=1, tools=[], tool_choice="auto", response_format={"type": "text"},
        logprobs=False, logit_bias={}, modalities=["text"], user="u", metadata={"a": "b"}, store=False,
        service_tier="auto", parallel_tool_calls=True, safety_identifier="x", prompt_cache_key="y",
        extra_body={"functions": [], "function_call": "none", "top_logprobs": 0, "audio": None},
    )  # fmt: skip
    assert answer.choices[0].message.content == "hello"
    legacy = await client.completions.create(
        model="completion", prompt="hello", best_of=1, echo=False, suffix="", logprobs=None
    )
    assert legacy.choices[0].text == "hello"


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"messages": []}, "messages", "'messages' is [], expected an array of messages"),
        ({"messages": "hello"}, "messages", "'messages' is 'hello', expected an array of messages"),
        ({"messages": None}, "messages", "'messages' is missing, expected an array of messages"),
        ({"messages": ["hello"]}, "messages[0]", "'messages[0]': expected an object, got 'hello'"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "'messages[0].role': expected one of system, d"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "'messages[0].role': expected one of system, developer"),
        ({"messages": [*HELLO, {"role": "user"}]}, "messages[1].content", "'messages[1].content': expected a string or an"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "'messages[0].content': expected a string"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         "messages[0].content[0]", "'messages[0].content[0]' is a part of type 'image_url', expected type 'text'"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "'messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "x", "name": 5}]}, "messages[0].name", "'messages[0].name': expected a str"),
        ({"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]}, "messages[0].tool_calls", "'messages[0].tool_c"),
        ({"max_tokens": 0}, "max_tokens", "'max_tokens': expected a whole number from 1 to 2147483647, got 0"),
        ({"max_tokens": "9"}, "max_tokens", "'max_tokens': expected a whole number from 1 to 2147483647, got '9'"),
        ({"max_tokens": 2**31}, "max_tokens", "'max_tokens': expected a whole number from 1 to 2147483647, got 2147483648"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens", "'max_completion_tokens': expected a whole number from 1"),
        ({"max_tokens": True}, "max_tokens", "'max_tokens': expected a whole number from 1 to 2147483647, got True"),
        ({"temperature": 3}, "temperature", "'temperature': expected a number from 0 to 2, got 3"),
        ({"temperature": "hot"}, "temperature", "'temperature': expected a number from 0 to 2, got 'hot'"),
        ({"top_p": -0.5}, "top_p", "'top_p': expected a number from 0 to 1, got -0.5"),
        ({"presence_penalty": 9}, "presence_penalty", "'presence_penalty': expected a number from -2 to 2, got 9"),
        ({"seed": 2**70}, "seed", "'seed': expected an integer of 64 bits"),
        ({"reasoning_effort": 5}, "reasoning_effort", "'reasoning_effort': expected a string, got 5"),
        ({"stop": ["a"] * 5}, "stop", "'stop': expected a string or an array of up to 4 strings"),
        ({"stop": [5]}, "stop", "'stop': expected a string or an array of up to 4 strings, got [5]"),
        ({"stop": ""}, "stop", "'stop': expected strings of 1 to 256 characters, got ''"),
        ({"stop": "x" * 257}, "stop", "'stop': expected strings of 1 to 256 characters"),
        ({"stream_options": [], "stream": True}, "stream_options", "'stream_options': expected an object, got []"),
        ({"stream_options": {"include_usage": 1}, "stream": True}, "stream_options.include_usage", "'stream_options.include_usage':"),
        ({"stream_options": [], "stream": False}, "stream_options", "'stream_options': expected an object, got []"),
        ({"stream_options": {"include_usage": 1}, "stream": False}, "stream_options.include_usage", "'stream_options.include_usage': e"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "'stream_options' is only allowed when 'stream' is true, got None"),
        ({"stream_options": {}, "stream": False}, "stream_options", "'stream_options' is only allowed when 'stream' is true, got False"),
        ({"model": ""}, "model", "'model' is empty, expected the name of a model"),
        ({"extra_body": {"prompt": "x"}}, "prompt", "'prompt' is not supported at /v1/chat/completions, expected 'messages'; "
         "/v1/completions takes 'prompt'"),
        ({"extra_body": {"stream": "yes"}}, "stream", "'stream': expected true or false, got 'yes'"),
        ({"extra_body": {"model": 5}}, "model", "'model': expected a string, got 5"),
        ({"extra_body": {"model": None}}, "model", "'model' is missing, expected a string"),
        ({"model": "simple", "extra_body": {"top_k": 5}}, "top_k", "'top_k' is unknown, and model 'simple' has no input 'para"),
        ({"model": "none"}, "model", "model 'none' is not served at /v1/chat/completions: expected parameters { key: \"api\" value { "
         "string_value: \"openai-chat\" } } in its config.pbtxt, got none"),
        ({"model": "completion"}, "model", "model 'completion' is not served at /v1/chat/completions: expected parameters { key: \"api\" "
         "value { string_value: \"openai-chat\" } } in its config.pbtxt, got 'openai-completion'; it is served at /v1/completions"),
        ({"model": "other"}, "model", "model 'other' is not served at /v1/chat/completions: expected parameters"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named(
    client: openai.AsyncOpenAI, body: dict[str, Any], param: str, said: str
) -> None:
    error = await refused(client, **body) if "stream" not in str(body) else await one_refused(client, body)
    assert isinstance(error, openai.BadRequestError)
    assert error.param == param
    assert message(error)[: len(said)] == said


async def one_refused(client: openai.AsyncOpenAI, body: dict[str, Any]) -> openai.APIStatusError:
    """The error of one chat."""
    with pytest.raises(openai.APIStatusError) as raised:
        await client.chat.completions.create(**{"model": "chat", "messages": HELLO, **body})
    return raised.value


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (None, "missing_required_parameter"), ([], "empty_array"), ("hello", "invalid_type"), ({}, "invalid_type"),
        (5, "invalid_type"), (False, "invalid_type"),
    ],
)  # fmt: skip
async def test_messages_that_are_none(client: openai.AsyncOpenAI, messages: Any, code: str) -> None:
    error = await one_refused(client, {"messages": messages})
    assert (error.status_code, error.param, error.code) == (400, "messages", code)


async def test_both_limits_hold_for_completions(client: openai.AsyncOpenAI) -> None:
    prompt = json.dumps({"pieces": ["one ", "two ", "three ", "four"]})
    for more, expected in (
        ({"max_completion_tokens": 2}, "one two"),
        ({"max_completion_tokens": 2, "max_tokens": 3}, "one two"),
        ({"max_completion_tokens": 3, "max_tokens": 1}, "one"),
    ):
        answer = await client.completions.create(model="completion", prompt=prompt, extra_body=more)
        assert (answer.choices[0].text, answer.choices[0].finish_reason) == (expected, "length")
    shown = await client.completions.create(
        model="completion",
        prompt='{"show":1,"pieces":[]}',
        extra_body={"max_completion_tokens": 900, "max_tokens": 901},
    )
    assert json.loads(json.loads(shown.choices[0].text)["parameters"]) == {"max_tokens": 900}


async def test_messages_are_no_prompt(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await client.completions.create(model="completion", prompt="x", extra_body={"messages": HELLO})
    assert (raised.value.param, raised.value.code) == ("messages", "unsupported_parameter")
    assert message(raised.value) == (
        "'messages' is not supported at /v1/completions, expected 'prompt'; /v1/chat/completions takes 'messages'"
    )


async def test_drawing_is_ignored_by_a_model_without_parameters(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="simple", messages=HELLO, temperature=1.5, top_p=0.5, seed=1, max_tokens=9
    )
    assert answer.choices[0].message.content == "hello"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ([1, 2], "'prompt': token ids are not supported because models have their own tokens, expected text"),
        ([[1, 2]], "'prompt': token ids are not supported"),
        (["a", "b"], "'prompt' holds 2 prompts, expected one in each request"),
        ([], "'prompt': expected a string, got []"),
        (5, "'prompt': expected a string, got 5"),
        (None, "'prompt' is missing, expected a string"),
    ],
)
async def test_prompts_that_are_no_text(client: openai.AsyncOpenAI, prompt: Any, said: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await client.completions.create(model="completion", prompt=prompt)
    assert raised.value.param == "prompt"
    assert message(raised.value)[: len(said)] == said
    with pytest.raises(openai.BadRequestError) as raised:
        await client.completions.create(model="completion", prompt="a", logprobs=0)
    assert (raised.value.param, raised.value.code) == ("logprobs", "unsupported_parameter")


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
    _, _, headers = await hub.post("/v1/models/odd:predict", {"instances": [[1, 2]]})
    assert "x-should-retry" not in headers


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
