"""Asks for chats that are refused."""

from __future__ import annotations

from typing import Any

import openai
import pytest

HELLO: Any = [{"role": "user", "content": "hello"}]


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


async def one_refused(client: openai.AsyncOpenAI, body: dict[str, Any]) -> openai.APIStatusError:
    """The error of one chat."""
    with pytest.raises(openai.APIStatusError) as raised:
        await client.chat.completions.create(**{"model": "chat", "messages": HELLO, **body})
    return raised.value
