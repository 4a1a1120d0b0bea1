"""Bodies of chat and completions: what a caller asks for, the request that the model gets, answers and chunks.

Source: OpenAI, "Chat" and "Completions (legacy)".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from inferencehub.core.http1.handler import Body
from inferencehub.core.values.errors import shown
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import ModelInfo
from inferencehub.gateway.json_codec.answer_json import encode
from inferencehub.gateway.json_codec.json_text import too_deep
from inferencehub.gateway.json_codec.openai import contract
from inferencehub.gateway.json_codec.openai.counting import count_tokens
from inferencehub.gateway.json_codec.openai.errors import WrongField, unsupported
from inferencehub.gateway.json_codec.openai.fields import (
    Fields,
    decode_fields,
    flag,
    for_model,
    model_of,
    refuse_unknown,
    typed,
    whole_number,
)
from inferencehub.gateway.json_codec.openai.prompts import messages_text, prompt_text

MOST_STOPS, LONGEST_STOP = 4, 256
LIMITS = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Form:
    """How chat and completions differ.

    Args:
        api: the model's parameter `api`.
        input: the body's field that becomes the model's input of the same name.
        read: reads this field: the input's text, and the texts of the prompt.
        done: the fields that the endpoint itself does.
        prefix: what ids of answers begin with.
        whole, chunk: the `object` of an answer, and of each of its chunks.
    """

    api: str
    input: str
    read: Callable[[Fields], tuple[bytes, list[str]]]
    done: frozenset[str]
    prefix: str
    whole: str
    chunk: str


DONE = ("model", "stream", "stream_options", "stop", *LIMITS)
CHAT = Form(
    contract.CHAT, "messages", messages_text, frozenset((*DONE, "messages")),
    "chatcmpl-", "chat.completion", "chat.completion.chunk",
)  # fmt: skip
COMPLETION = Form(
    contract.COMPLETION, "prompt", prompt_text, frozenset((*DONE, "prompt")),
    "cmpl-", "text_completion", "text_completion",
)  # fmt: skip


class Asked(msgspec.Struct):
    """What a caller asks for.

    Args:
        model: the model's name.
        text: the text of the model's input.
        prompt_tokens: the tokens of the prompt as the gateway counts them; 0 if nobody asks for the usage.
        parameters: what the model's input `parameters` gets.
        stops: the stop sequences.
        most_tokens: the largest number of tokens; None for no limit.
        stream: whether the answer is sent as events.
        usage: whether the last event says what was used.
    """

    model: str
    text: bytes
    prompt_tokens: int
    parameters: Fields
    stops: list[str]
    most_tokens: int | None
    stream: bool
    usage: bool


def decode_asked(form: Form, body: Body) -> Asked:
    """Read the body of a request.

    Raises:
        HubError: BAD_INPUT naming the field, what was expected and what came.
    """
    fields = decode_fields(body)
    model = model_of(fields)
    refuse_other_input(fields, form)
    parameters = for_model(fields, form.done)
    limits = [limit for name in LIMITS if (limit := whole_number(fields, name))]
    stops = stops_of(fields)
    if limits:
        parameters["max_tokens"] = min(limits)
    if stops:
        parameters["stop"] = stops
    text, prompt = form.read(fields)
    stream = flag(fields, "stream")
    most = parameters.get("max_tokens")
    usage = wants_usage(fields, stream)
    tokens = sum(map(count_tokens, prompt)) if usage or not stream else 0
    return Asked(model, text, tokens, parameters, stops, most, stream, usage)


def refuse_other_input(fields: Fields, form: Form) -> None:
    """Refuse the input of the other endpoint: a model would not get it.

    Raises:
        WrongField: if it is there.
    """
    other = COMPLETION if form is CHAT else CHAT
    if other.input in fields:
        raise unsupported(
            other.input,
            f"'{other.input}' is not supported at {contract.PATHS[form.api]}, expected '{form.input}'; "
            f"{contract.PATHS[other.api]} takes '{other.input}'",
        )


def stops_of(fields: Fields) -> list[str]:
    """The stop sequences.

    Raises:
        WrongField: if they are not up to four strings.
    """
    stop = fields.get("stop", [])
    stops = [stop] if type(stop) is str else stop
    if type(stops) is not list or len(stops) > MOST_STOPS or not all(type(one) is str for one in stops):
        raise WrongField(
            "stop", f"'stop': expected a string or an array of up to {MOST_STOPS} strings, got {shown(stop)}"
        )
    if not all(0 < len(one) <= LONGEST_STOP for one in stops):
        raise WrongField(
            "stop", f"'stop': expected strings of 1 to {LONGEST_STOP} characters, got {shown(stop)}"
        )
    return stops


def wants_usage(fields: Fields, stream: bool) -> bool:
    """Whether `stream_options` ask for the usage.

    Raises:
        WrongField: if they are no object, `include_usage` is not true or false, or there is no stream.
    """
    if "stream_options" not in fields:
        return False
    options = typed(fields, "stream_options", dict, "an object")
    wanted = options.get("include_usage")
    if wanted is not None and type(wanted) is not bool:
        param = "stream_options.include_usage"
        raise WrongField(param, f"'{param}': expected true or false, got {shown(wanted)}", "invalid_type")
    if not stream:
        raise WrongField(
            "stream_options",
            f"'stream_options' is only allowed when 'stream' is true, got {shown(fields.get('stream'))}",
        )
    return bool(wanted)


def generation_request(info: ModelInfo, form: Form, asked: Asked) -> InferRequest:
    """The request that a model gets.

    Raises:
        HubError: BAD_INPUT if the model is not for this endpoint, or a field is unknown; UNSUPPORTED if the model does
            not keep the contract.
    """
    outputs = contract.require(info, form.api)
    inputs = [contract.text_input(info, form.input, asked.text)]
    if contract.has_input(info, "parameters"):
        inputs.append(contract.text_input(info, "parameters", parameters_text(asked.parameters)))
    else:
        refuse_unknown(info.name, asked.parameters)
    return InferRequest(info.name, "", tuple(inputs), outputs)


def parameters_text(parameters: Fields) -> bytes:
    """The JSON that the model's input `parameters` gets.

    Raises:
        HubError: BAD_INPUT if a field is nested too deeply.
    """
    try:
        return encode(parameters)
    except RecursionError:
        raise too_deep() from None


@dataclass(frozen=True, slots=True)
class Frame:
    """What an answer and all of its chunks have in common.

    Args:
        form: chat or completion.
        id: of the request.
        model: the model's name.
        created: in seconds since 1970.
    """

    form: Form
    id: str
    model: str
    created: int

    def answer(self, text: str, reason: str, usage: dict[str, int]) -> bytes:
        """The JSON of a whole answer."""
        said = {"message": {"role": "assistant", "content": text, "refusal": None}}
        choice = self._choice(said if self.form is CHAT else {"text": text}, reason)
        return encode({**self._head(self.form.whole), "choices": [choice], "usage": usage})

    def chunk(self, delta: dict[str, str], reason: str | None, usage: bool) -> bytes:
        """The JSON of a chunk.

        Args:
            delta: what a chat's chunk adds to the message: `role`, `content` or nothing.
            reason: why the text ended; None if it goes on.
            usage: whether the last chunk says what was used; then all others have `usage: null`.
        """
        said = {"delta": delta} if self.form is CHAT else {"text": delta.get("content", "")}
        found = {**self._head(self.form.chunk), "choices": [self._choice(said, reason)]}
        return encode(found | {"usage": None} if usage else found)

    def used(self, usage: dict[str, int]) -> bytes:
        """The JSON of the chunk that says what was used."""
        return encode({**self._head(self.form.chunk), "choices": [], "usage": usage})

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.form.prefix + self.id, "object": kind, "created": self.created, "model": self.model,
        }  # fmt: skip

    def _choice(self, said: dict[str, Any], reason: str | None) -> dict[str, Any]:
        return {"index": 0, **said, "logprobs": None, "finish_reason": reason}
