"""Which fields of a body are done, ignored, refused, or the model's.

- A field that would change the answer, and whose effect this server does not have, is refused by its name; the value
  at which it changes nothing is accepted.
- A field that changes no answer is ignored.
- Fields that say how to draw from the model's probabilities are checked and are the model's, if it has the input
  `parameters`. A model without it has its own way to draw.
- Fields that OpenAI does not have, such as `top_k`, are the model's too; without the input `parameters` they are refused.

`null` is the same as leaving a field out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from inferencehub.core.http1.handler import Body
from inferencehub.core.values.errors import shown
from inferencehub.gateway.json_codec.json_text import decode
from inferencehub.gateway.json_codec.openai.errors import WrongField, unsupported

Fields = dict[str, Any]

IGNORED = frozenset(
    (
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "parallel_tool_calls",
    )
)  # fmt: skip
NOTHING: tuple[Any, Any] = ([], {})
LARGEST = 2**31 - 1  # number of tokens or dimensions
# The values at which a field changes nothing, and what to expect.
NEUTRAL: dict[str, tuple[Callable[[Any], bool], str]] = {
    "n": (lambda value: type(value) is int and value == 1, "1: there is one answer to a request"),
    "best_of": (lambda value: type(value) is int and value == 1, "1: there is one answer to a request"),
    "echo": (lambda value: value is False, "false"),
    "suffix": (lambda value: value == "", "no suffix"),
    "logprobs": (lambda value: value is False, "false: there are no log probabilities"),
    "top_logprobs": (lambda value: type(value) is int and value == 0, "0: there are no log probabilities"),
    "logit_bias": (lambda value: value == {}, "none: models have their own tokens"),
    "tools": (lambda value: value in NOTHING, "none"),
    "tool_choice": (lambda value: value in ("none", "auto"), "'none' or 'auto': there are no tools"),
    "functions": (lambda value: value in NOTHING, "none"),
    "function_call": (lambda value: value in ("none", "auto"), "'none' or 'auto': there are no functions"),
    "response_format": (lambda value: value == {"type": "text"}, "{'type': 'text'}"),
    "modalities": (lambda value: value == ["text"], "['text']"),
    "audio": (lambda value: False, "none"),
    "prediction": (lambda value: False, "none"),
    "moderation": (lambda value: False, "none"),
    "web_search_options": (lambda value: False, "none"),
}
# How to draw: the lowest and the highest number.
DRAWING: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
}
WORDS = ("reasoning_effort", "verbosity")  # the model's too
# What a model without the input `parameters` need not know: it draws in its own way, and the gateway cuts its text.
NEEDLESS = frozenset((*DRAWING, *WORDS, "seed", "max_tokens", "stop"))

_fields = msgspec.json.Decoder(Fields)


def decode_fields(body: Body) -> Fields:
    """The fields of a body that are not null.

    Raises:
        HubError: BAD_INPUT if the body is no JSON object.
    """
    fields: Fields = decode(_fields, bytes(body))
    return {name: value for name, value in fields.items() if value is not None}


def model_of(fields: Fields, name: str = "model") -> str:
    """The name of the model, which must be there.

    Raises:
        WrongField: if it is not.
    """
    if name not in fields:
        raise WrongField(name, f"'{name}' is missing, expected a string", "missing_required_parameter")
    text: str = typed(fields, name, str, "a string")
    if not text:
        raise WrongField(name, f"'{name}' is empty, expected the name of a model")
    return text


def typed(fields: Fields, name: str, kind: type, expected: str) -> Any:
    """A field that must have a type.

    Raises:
        WrongField: if it has another type.
    """
    value = fields[name]
    if type(value) is not kind:
        raise WrongField(name, f"'{name}': expected {expected}, got {shown(value)}", "invalid_type")
    return value


def whole_number(fields: Fields, name: str) -> int | None:
    """A field that is a whole number from 1 to `LARGEST`; None if it is left out.

    Raises:
        WrongField: if it is something else.
    """
    value: int | None = fields.get(name)
    if value is not None and (type(value) is not int or not 1 <= value <= LARGEST):
        raise WrongField(name, f"'{name}': expected a whole number from 1 to {LARGEST}, got {shown(value)}")
    return value


def flag(fields: Fields, name: str) -> bool:
    """A field that is true or false; False if it is left out.

    Raises:
        WrongField: if it is something else.
    """
    return name in fields and bool(typed(fields, name, bool, "true or false"))


def for_model(fields: Fields, done: frozenset[str]) -> Fields:
    """The fields that are the model's, checked; see the module's text.

    Args:
        fields: the body's.
        done: names of those that the endpoint itself does.

    Raises:
        WrongField: for a field that is refused.
    """
    mine: Fields = {}
    for name, value in fields.items():
        if name in NEUTRAL:
            refuse_effect(name, value)
        elif name not in done and name not in IGNORED:
            check(name, value)
            mine[name] = value
    return mine


def refuse_effect(name: str, value: Any) -> None:
    """Refuse a value that would change the answer.

    Raises:
        WrongField: if it would.
    """
    changes_nothing, expected = NEUTRAL[name]
    if not changes_nothing(value):
        raise unsupported(name, f"'{name}' is not supported, expected {expected}, got {shown(value)}")


def check(name: str, value: Any) -> None:
    """Check a field that is the model's, if OpenAI says what it is.

    Raises:
        WrongField: if it is something else.
    """
    if name in DRAWING:
        low, high = DRAWING[name]
        if type(value) not in (int, float) or not low <= value <= high:
            raise WrongField(name, f"'{name}': expected a number from {low} to {high}, got {shown(value)}")
    elif name == "seed":
        if type(value) is not int or not -(2**63) <= value < 2**63:
            raise WrongField(name, f"'{name}': expected an integer of 64 bits, got {shown(value)}")
    elif name in WORDS and type(value) is not str:
        raise WrongField(name, f"'{name}': expected a string, got {shown(value)}", "invalid_type")


def refuse_unknown(model: str, mine: Mapping[str, Any]) -> None:
    """Refuse fields that OpenAI does not have, for a model without the input `parameters`.

    Raises:
        WrongField: if there are any.
    """
    for name in mine:
        if name not in NEEDLESS:
            raise WrongField(
                name[:80],
                f"'{name[:80]}' is unknown, and model '{model}' has no input 'parameters' that would get it",
                "unknown_parameter",
            )
