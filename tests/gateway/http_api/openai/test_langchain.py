"""Chat and completions with LangChain's client, as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import SecretStr

from tests.gateway.http_api.openai.scripted import scripted
from tests.hub import Hub, running_hub

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCRIPT = json.dumps({"pieces": ["one ", "two ", "three"]})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    scripted(models, "chat")
    scripted(models, "completion", api="openai-completion")
    async with running_hub(models, hold_s=20.0) as hub:
        yield hub


def chat(hub: Hub, **more: Any) -> ChatOpenAI:
    """LangChain's chat model."""
    key = SecretStr("any")
    return ChatOpenAI(model="chat", base_url=f"{hub.url}/v1", api_key=key, max_retries=0, **more)


async def test_a_chat(hub: Hub) -> None:
    answer = await asyncio.to_thread(chat(hub, temperature=0.5, seed=3).invoke, SCRIPT)
    assert answer.content == "one two three"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 3
    assert answer.response_metadata["finish_reason"] == "stop"
    messages = [SystemMessage("be brief"), HumanMessage('{"show":1,"pieces":[]}')]
    shown = await chat(hub).ainvoke(messages)
    assert isinstance(shown.content, str)
    assert json.loads(json.loads(shown.content)["messages"]) == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": '{"show":1,"pieces":[]}'},
    ]


async def test_a_stream_with_limits(hub: Hub) -> None:
    limited = chat(hub, max_tokens=2, stream_usage=True)
    found = [chunk async for chunk in limited.astream(SCRIPT)]
    assert "".join(str(chunk.content) for chunk in found) == "one two"
    assert [chunk.usage_metadata["output_tokens"] for chunk in found if chunk.usage_metadata] == [2]
    stopped = [chunk.content async for chunk in chat(hub).astream(SCRIPT, stop=["three"])]
    assert "".join(map(str, stopped)) == "one two "


async def test_tools_are_refused(hub: Hub) -> None:
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    with pytest.raises(openai.BadRequestError, match="'tools' is not supported"):
        await chat(hub).bind_tools([add]).ainvoke("hello")


async def test_completions(hub: Hub) -> None:
    model = OpenAI(model="completion", base_url=f"{hub.url}/v1", api_key=SecretStr("any"), max_retries=0)
    assert await asyncio.to_thread(model.invoke, SCRIPT) == "one two three"
    assert [piece async for piece in model.astream(SCRIPT) if piece] == ["one ", "two ", "three"]
