"""What a model continues: the messages of a chat, or the prompt of a completion, as the text of its input."""

from __future__ import annotations

from typing import Any

from inferencehub.core.values.errors import shown
from inferencehub.gateway.json_codec.answer_json import encode
from inferencehub.gateway.json_codec.openai.errors import WrongField, unsupported
from inferencehub.gateway.json_codec.openai.fields import NOTHING, Fields

ROLES = ("system", "developer", "user", "assistant")
# Keys of a message that the model gets. Clients send an answer of the model back with other keys that are empty.
KEPT = ("role", "content", "name")
TOKEN_IDS = "token ids are not supported because models have their own tokens, expected text"


def messages_text(fields: Fields) -> tuple[bytes, list[str]]:
    """The messages as the JSON that the model gets, `[{"role": …, "content": …}, …]`, and their contents.

    Raises:
        WrongField: naming the message and what is wrong in it.
    """
    messages = fields.get("messages")
    if type(messages) is not list or not messages:
        what = "is missing" if messages is None else f"is {shown(messages)}"
        code = "missing_required_parameter" if messages is None else "invalid_type"
        code = "empty_array" if messages == [] else code
        raise WrongField("messages", f"'messages' {what}, expected an array of messages", code)
    found = [message_of(message, f"messages[{place}]") for place, message in enumerate(messages)]
    return encode(found), [message["content"] for message in found]


def message_of(message: Any, place: str) -> dict[str, str]:
    """A message with its content as one string.

    Raises:
        WrongField: if it holds something else than text.
    """
    if type(message) is not dict:
        raise WrongField(place, f"'{place}': expected an object, got {shown(message)}", "invalid_type")
    role = message.get("role")
    if role not in ROLES:
        raise WrongField(
            f"{place}.role", f"'{place}.role': expected one of {', '.join(ROLES)}, got {shown(role)}"
        )
    for key, value in message.items():
        if key not in KEPT and value is not None and value not in NOTHING:
            param = f"{place}.{key[:80]}"
            raise unsupported(param, f"'{param}' is not supported, expected {', '.join(KEPT)}")
    found = {"role": role, "content": content_of(message.get("content"), f"{place}.content", role)}
    name = message.get("name")
    if name is not None:
        if type(name) is not str:
            raise WrongField(
                f"{place}.name", f"'{place}.name': expected a string, got {shown(name)}", "invalid_type"
            )
        found["name"] = name
    return found


def content_of(content: Any, place: str, role: str) -> str:
    """A message's content: a string, or parts of type `text`, which are joined by line breaks.

    Raises:
        WrongField: if it is something else.
    """
    if type(content) is str:
        return content
    if content is None and role == "assistant":
        return ""
    if type(content) is not list:
        raise WrongField(
            place, f"'{place}': expected a string or an array of parts, got {shown(content)}", "invalid_type"
        )
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if type(part) is dict else part
        if kind != "text":
            param = f"{place}[{number}]"
            raise unsupported(param, f"'{param}' is a part of type {shown(kind)}, expected type 'text'")
        if type(part.get("text")) is not str:
            param = f"{place}[{number}].text"
            raise WrongField(
                param, f"'{param}': expected a string, got {shown(part.get('text'))}", "invalid_type"
            )
        texts.append(part["text"])
    return "\n".join(texts)


def prompt_text(fields: Fields) -> tuple[bytes, list[str]]:
    """The prompt as the text that the model gets, and the same as a list.

    Raises:
        WrongField: if it is no single text.
    """
    prompt = fields.get("prompt")
    if type(prompt) is list and len(prompt) == 1 and type(prompt[0]) is str:
        (prompt,) = prompt
    if type(prompt) is str:
        return prompt.encode(), [prompt]
    if prompt is None:
        raise WrongField("prompt", "'prompt' is missing, expected a string", "missing_required_parameter")
    if are_tokens(prompt):
        raise unsupported("prompt", f"'prompt': {TOKEN_IDS}")
    if type(prompt) is list and len(prompt) > 1:
        raise unsupported("prompt", f"'prompt' holds {len(prompt)} prompts, expected one in each request")
    raise WrongField("prompt", f"'prompt': expected a string, got {shown(prompt)}", "invalid_type")


def are_tokens(value: Any) -> bool:
    """Whether a value is a list of token ids, or of such lists."""
    return type(value) is list and bool(value) and (type(value[0]) is int or are_ids(value[0]))


def are_ids(value: Any) -> bool:
    """Whether a value is a list that begins with a token id."""
    return type(value) is list and bool(value) and type(value[0]) is int
