"""JSON Schemas of the bodies of OpenAI's API, and of the list of models that its clients and those of V1 read."""

from __future__ import annotations

from inferencehub.gateway.http_api.pages.schemas import BOOL, Json, listed, record, ref, text
from inferencehub.gateway.json_codec.openai.fields import LARGEST

COUNT = {"type": "integer", "minimum": 0}
LIMIT = {
    "type": "integer",
    "minimum": 1,
    "maximum": LARGEST,
    "description": "the largest number of tokens of the answer",
}
COMMON: dict[str, Json] = {
    "model": text("a model whose config has the parameter `api` of this path"),
    "stream": {
        **BOOL,
        "description": "whether the answer is sent as server-sent events, each with a chunk of it",
    },
    "stream_options": {
        "type": "object",
        "properties": {"include_usage": BOOL},
        "description": "only allowed with a stream",
    },
    "max_tokens": LIMIT,
    "max_completion_tokens": LIMIT,
    "stop": {"description": "a string, or up to 4, at which the text ends; it is not part of the text"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
}
OTHERS = {
    "description": "further fields go to the model's input `parameters`; those that would change the answer and are not done are refused"
}
MESSAGE = record("role content", role={"enum": ["system", "developer", "user", "assistant"]},
                 content={"description": "a string, or an array of parts of type text"}, name={"type": "string"})  # fmt: skip
USAGE = record("prompt_tokens total_tokens", prompt_tokens=COUNT, completion_tokens=COUNT, total_tokens=COUNT)
REASON = {"enum": ["stop", "length", "content_filter"]}


def answer(choice: Json, kind: str) -> Json:
    """The schema of a whole answer."""
    return record(
        "id object created model choices usage",
        id=text("ends with the request's id"), object={"const": kind}, created={"type": "integer"},
        model=text("the model"), choices=listed(choice, minItems=1, maxItems=1), usage=USAGE,
    )  # fmt: skip


OPENAI_SCHEMAS: dict[str, Json] = {
    "ChatRequest": {
        **record("model messages", **COMMON, messages=listed(MESSAGE, minItems=1)),
        "additionalProperties": OTHERS,
        "example": {"model": "markov-chat", "messages": [{"role": "user", "content": "How do I make soup?"}]},
    },
    "ChatAnswer": answer(
        record("index message finish_reason", index=COUNT, message=MESSAGE, finish_reason=REASON), "chat.completion"
    ),
    "CompletionRequest": {
        **record("model prompt", **COMMON, prompt={"description": "a string, or an array of one"}),
        "additionalProperties": OTHERS,
        "example": {"model": "my-completion", "prompt": "Once upon a time"},
    },
    "CompletionAnswer": answer(
        record("index text finish_reason", index=COUNT, text={"type": "string"}, finish_reason=REASON),
        "text_completion",
    ),
    "EmbeddingsRequest": {
        **record(
            "model input",
            model=COMMON["model"],
            input={"description": "a string or an array of strings; no token ids"},
            encoding_format={"enum": ["float", "base64"], "description": "base64 is that of FP32, little-endian"},
            dimensions={"type": "integer", "minimum": 1, "maximum": LARGEST, "description": "the size of a vector, for a model that has this input"},
            user=text("ignored"),
        ),
        "example": {"model": "letter-grams", "input": ["soup", "a bowl of soup"]},
    },
    "EmbeddingsAnswer": record(
        "object data model usage",
        object={"const": "list"},
        data=listed(record("object index embedding", object={"const": "embedding"}, index=COUNT,
                           embedding={"description": "an array of numbers, or a string of base64"})),
        model=text("the model"),
        usage=USAGE,
    ),
    "OpenAIError": record(
        "error",
        error=record(
            "message type param code",
            message=text("what was expected and what came"),
            type={"type": "string"},
            param={"type": ["string", "null"], "description": "the field of the request, where one is wrong"},
            code={"type": ["string", "null"]},
        ),
    ),
    "V1Models": record(
        "object data models",
        object={"const": "list"},
        data=listed(ref("V1Ready"), description="for clients of OpenAI"),
        models=listed(text("a model"), description="for clients of V1"),
    ),
    "V1Ready": record(
        "id object created owned_by name ready",
        id=text("the model"),
        object={"const": "model"},
        created={"type": "integer", "description": "when the gateway started, in seconds since 1970"},
        owned_by={"type": "string"},
        name=text("the model, for clients of V1"),
        ready=BOOL,
    ),
}  # fmt: skip
