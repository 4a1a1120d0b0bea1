"""Bodies of embeddings: texts in, a vector for each out, as numbers or as base64 of their bytes.

Source: OpenAI, "Embeddings". Its client asks for base64: FP32, little-endian.
"""

from __future__ import annotations

from array import array
from base64 import b64encode
from math import isfinite
from typing import Any

import msgspec

from inferencehub.core.http1.handler import Body
from inferencehub.core.values.errors import HubError, Kind, shown
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.signature import ModelInfo
from inferencehub.core.values.tensors import Tensor, pack_bytes
from inferencehub.gateway.json_codec.answer_json import Wanted, elements, encode
from inferencehub.gateway.json_codec.openai import contract
from inferencehub.gateway.json_codec.openai.counting import count_tokens
from inferencehub.gateway.json_codec.openai.errors import WrongField, unsupported
from inferencehub.gateway.json_codec.openai.fields import (
    Fields,
    decode_fields,
    for_model,
    model_of,
    whole_number,
)
from inferencehub.gateway.json_codec.openai.prompts import TOKEN_IDS, are_tokens

DONE = frozenset(("model", "input", "encoding_format", "dimensions"))
FORMATS = ("float", "base64")
CODES = {"INT32": "i", "INT64": "q", "UINT32": "I", "UINT64": "Q"}


class EmbeddingsWanted(Wanted):
    """What the answer is to be.

    Args:
        model: the model's name.
        count: the number of texts.
        tokens: the tokens of all texts, as the gateway counts them.
        base64: whether vectors are sent as base64.
        dimensions: the size of a vector; None for the model's own.
    """

    model: str = ""
    count: int = 0
    tokens: int = 0
    base64: bool = False
    dimensions: int | None = None


class EmbeddingsAsked(msgspec.Struct):
    """What a caller asks for.

    Args:
        texts: the texts, as an input of BYTES.
        wanted: what the answer is to be.
    """

    texts: bytes
    wanted: EmbeddingsWanted


def decode_embeddings(body: Body) -> EmbeddingsAsked:
    """Read the body of a request.

    Raises:
        HubError: BAD_INPUT naming the field, what was expected and what came.
    """
    fields = decode_fields(body)
    model = model_of(fields)
    for name in for_model(fields, DONE):
        raise WrongField(
            name[:80],
            f"'{name[:80]}' is no field of embeddings, expected {', '.join(sorted(DONE))} or user",
            "unknown_parameter",
        )
    form = fields.get("encoding_format", "float")
    if form not in FORMATS:
        raise WrongField(
            "encoding_format", f"'encoding_format': expected one of {', '.join(FORMATS)}, got {shown(form)}"
        )
    dimensions = whole_number(fields, "dimensions")
    texts = texts_of(fields)
    tokens = sum(map(count_tokens, texts))
    wanted = EmbeddingsWanted(
        model=model, count=len(texts), tokens=tokens, base64=form == "base64", dimensions=dimensions
    )
    return EmbeddingsAsked(pack_bytes([text.encode() for text in texts]), wanted)


def texts_of(fields: Fields) -> list[str]:
    """The texts.

    Raises:
        WrongField: if they are no string and no array of strings.
    """
    found = fields.get("input")
    if found is None:
        raise WrongField("input", "'input' is missing, expected a string", "missing_required_parameter")
    if are_tokens(found):
        raise unsupported(
            "input",
            f"'input': {TOKEN_IDS}; with LangChain, OpenAIEmbeddings(check_embedding_ctx_length=False)",
        )
    texts = [found] if type(found) is str else found
    if type(texts) is not list or not texts or not all(type(text) is str for text in texts):
        raise WrongField(
            "input", f"'input': expected a string or an array of strings, got {shown(found)}", "invalid_type"
        )
    return texts


def embeddings_request(info: ModelInfo, asked: EmbeddingsAsked) -> InferRequest:
    """The request that a model gets.

    Raises:
        HubError: BAD_INPUT if the model is not for this endpoint, or cannot do what is asked; UNSUPPORTED if the model
            does not keep the contract.
    """
    outputs = contract.require(info, contract.EMBEDDING)
    count = asked.wanted.count  # more than a batch has room for run in parts, as any other request does
    shape = (count, 1) if info.signature.max_batch_size else (count,)
    inputs = [Tensor("input", "BYTES", shape, asked.texts)]
    if asked.wanted.dimensions is not None:
        inputs.append(dimensions_of(info, asked.wanted.dimensions, count))
    return InferRequest(info.name, "", tuple(inputs), outputs)


def dimensions_of(info: ModelInfo, dimensions: int, count: int) -> Tensor:
    """The input that says how large a vector is to be.

    Raises:
        WrongField: if the model has no such input.
    """
    for spec in info.signature.inputs:
        if spec.name == "dimensions":
            rows = count if info.signature.max_batch_size else 1
            shape = (rows, 1) if info.signature.max_batch_size else (1,)
            return Tensor(
                spec.name, spec.dtype, shape, array(CODES[spec.dtype], [dimensions] * rows).tobytes()
            )
    raise unsupported(
        "dimensions", f"'dimensions' is not supported: model '{info.name}' has no input 'dimensions'"
    )


def embeddings_answer(response: InferResponse, wanted: EmbeddingsWanted) -> bytes:
    """The JSON of an answer.

    Raises:
        HubError: MODEL_FAILED if the vectors are not those that were asked for.
    """
    output = response.output("embedding")
    count = wanted.count
    if len(output.shape) != 2 or output.shape[0] != count or wanted.dimensions not in (None, output.shape[1]):
        expected = [count, wanted.dimensions or -1]
        raise HubError(
            Kind.MODEL_FAILED,
            f"model '{response.model}': output 'embedding' has shape {list(output.shape)}, expected {expected}",
        )
    vectors = vectors_of(response, output)
    data: list[dict[str, Any]] = []
    size = output.shape[1]
    for index in range(count):
        row = vectors[index * size : (index + 1) * size]
        vector = b64encode(row.tobytes()).decode() if wanted.base64 else row.tolist()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = tokens_of(response, wanted.tokens)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return encode({"object": "list", "data": data, "model": wanted.model, "usage": usage})


def vectors_of(response: InferResponse, output: Tensor) -> array[float]:
    """All numbers of an output, as FP32.

    Raises:
        HubError: MODEL_FAILED if one is not finite.
    """
    if output.dtype == "FP32":
        numbers = array("f")
        numbers.frombytes(output.data)
    else:
        numbers = array("f", elements(output))
    if not isfinite(sum(numbers)):  # numbers of FP32 have a finite sum if they are finite
        found = next(number for number in numbers if not isfinite(number))
        raise HubError(
            Kind.MODEL_FAILED,
            f"model '{response.model}': output '{output.name}' holds {found}, expected numbers that are finite as FP32",
        )
    return numbers


def tokens_of(response: InferResponse, counted: int) -> int:
    """The tokens of all texts: those that the model counts, else `counted`.

    Raises:
        HubError: MODEL_FAILED if it counts less than none.
    """
    for output in response.outputs:
        if output.name == "prompt_tokens":
            found: list[int] = elements(output)
            if min(found, default=0) < 0:
                raise HubError(
                    Kind.MODEL_FAILED,
                    f"model '{response.model}': output '{output.name}' is {found[:4]}, expected numbers from 0",
                )
            return sum(found)
    return counted
