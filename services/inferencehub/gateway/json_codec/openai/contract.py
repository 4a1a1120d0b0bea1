"""What a model must have to be served under OpenAI's API: the parameter `api` of its config, inputs and outputs.

Names are those of OpenAI's JSON. A text is one element of BYTES in each row.

| api | inputs | outputs |
|---|---|---|
| openai-chat | messages, [parameters] | text, [finish_reason], [prompt_tokens], [completion_tokens] |
| openai-completion | prompt, [parameters] | the same |
| openai-embedding | input, [dimensions] | embedding, [prompt_tokens] |
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from inferencehub.core.values.errors import HubError, Kind, listed, shown
from inferencehub.core.values.signature import ModelInfo, TensorSpec
from inferencehub.core.values.tensors import Tensor, pack_bytes
from inferencehub.gateway.json_codec.openai.errors import WrongField

API = "api"
CHAT, COMPLETION, EMBEDDING = "openai-chat", "openai-completion", "openai-embedding"
PATHS = {CHAT: "/v1/chat/completions", COMPLETION: "/v1/completions", EMBEDDING: "/v1/embeddings"}
TEXT = frozenset(("BYTES",))
INTEGERS = frozenset(("INT32", "INT64", "UINT32", "UINT64"))
FLOATS = frozenset(("FP16", "FP32", "FP64"))
# The types of inputs and outputs by name. The first of each is required; others are used if the model has them.
INPUTS = {
    CHAT: {"messages": TEXT, "parameters": TEXT},
    COMPLETION: {"prompt": TEXT, "parameters": TEXT},
    EMBEDDING: {"input": TEXT, "dimensions": INTEGERS},
}
GENERATED = {"text": TEXT, "finish_reason": TEXT, "prompt_tokens": INTEGERS, "completion_tokens": INTEGERS}
OUTPUTS = {
    CHAT: GENERATED,
    COMPLETION: GENERATED,
    EMBEDDING: {"embedding": FLOATS, "prompt_tokens": INTEGERS},
}


def require(info: ModelInfo, api: str) -> tuple[str, ...]:
    """Check that a model can be called by the path of `api`; the names of the outputs to ask it for.

    Raises:
        WrongField: if its config does not have that `api`.
        HubError: UNSUPPORTED if its inputs or outputs do not fit.
    """
    own = info.parameter(API)
    if own == api:
        return outputs_of(info, api)
    where = f"; it is served at {PATHS[own]}" if own in PATHS else ""
    raise WrongField(
        "model",
        f"model '{info.name}' is not served at {PATHS[api]}: expected parameters {{ key: \"{API}\" value {{ "
        f'string_value: "{api}" }} }} in its config.pbtxt, got {shown(own) if own else "none"}{where}',
        "unsupported_model",
    )


@lru_cache(maxsize=256)
def outputs_of(info: ModelInfo, api: str) -> tuple[str, ...]:
    """The outputs to ask a model for, once its inputs and outputs are known to fit.

    Raises:
        HubError: UNSUPPORTED that names what does not fit.
    """
    signature = info.signature
    row = 1 if signature.max_batch_size else 0
    several = api == EMBEDDING and not row  # it gets all texts as one row
    if api == EMBEDDING and signature.decoupled:
        raise misfit(info, api, "is decoupled, expected one answer")
    inputs = by_name(info, api, "input", signature.inputs, INPUTS[api])
    outputs = by_name(info, api, "output", signature.outputs, OUTPUTS[api])
    for spec in signature.inputs:
        if spec.name not in inputs and not spec.optional:
            raise misfit(info, api, f"has input '{spec.name}', expected it to be optional")
    for what, specs in (("input", inputs), ("output", outputs)):
        for name, spec in specs.items():
            if name == "embedding":
                if len(spec.shape) != 2:
                    raise misfit(
                        info, api, f"has output '{name}' {list(spec.shape)}, expected a row for each text"
                    )
            elif (dims := list(spec.shape[row:])) != (
                expected := [-1] if several and name != "dimensions" else [1]
            ):
                raise misfit(info, api, f"has {what} '{name}' with dims {dims}, expected {expected}")
    return tuple(outputs)


def by_name(
    info: ModelInfo, api: str, what: str, specs: Iterable[TensorSpec], types: dict[str, frozenset[str]]
) -> dict[str, TensorSpec]:
    """The inputs or outputs that `api` knows.

    Raises:
        HubError: UNSUPPORTED if the required one is missing, or one has another type.
    """
    found = {spec.name: spec for spec in specs if spec.name in types}
    required = next(iter(types))
    if required not in found:
        raise misfit(info, api, f"has no {what} '{required}'")
    for name, spec in found.items():
        if spec.dtype not in types[name]:
            expected = listed(sorted(types[name]))
            raise misfit(info, api, f"has {what} '{name}' of {spec.dtype}, expected {expected}")
    return found


def misfit(info: ModelInfo, api: str, what: str) -> HubError:
    """The error for a model that does not keep the contract."""
    return HubError(Kind.UNSUPPORTED, f"model '{info.name}' has the parameter {API} \"{api}\", but {what}")


def has_input(info: ModelInfo, name: str) -> bool:
    """Whether a model has an input of that name."""
    return name in info.signature.names


def text_input(info: ModelInfo, name: str, text: bytes) -> Tensor:
    """An input of one text."""
    shape = (1, 1) if info.signature.max_batch_size else (1,)
    return Tensor(name, "BYTES", shape, pack_bytes([text]))
