"""Fields of a body: which are refused, by what name and in which words, which are ignored, and which are the model's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.gateway.http_api.openai.asking import HELLO, message, one_refused, refused
from tests.gateway.http_api.openai.scripted import API, scripted
from tests.hub import Hub, mock_model, running_hub

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    scripted(models, "chat")
    scripted(models, "simple", parameters=False)
    scripted(models, "completion", api="openai-completion")
    scripted(models, "none", api="")
    mock_model(models, "other", more=API % "openai-speech")
    async with running_hub(models, hold_s=5.0) as hub:
        yield hub


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
