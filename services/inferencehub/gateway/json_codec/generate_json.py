"""Bodies of the generate extension: a JSON object whose keys are inputs, and answers whose keys are outputs.

Source: Triton, "Generate Extension". A value is one element or an array; a key that is no input is a parameter of the
request, as are the keys of `parameters`.
"""

from __future__ import annotations

import json
from collections.abc import Set
from math import prod
from typing import Any

import msgspec

from inferencehub.core.http1.handler import Body
from inferencehub.core.values.errors import bad_input, listed
from inferencehub.core.values.requests import InferRequest, InferResponse, Parameter
from inferencehub.core.values.signature import ModelInfo, TensorSpec
from inferencehub.core.values.tensors import Tensor
from inferencehub.gateway.json_codec.answer_json import encode, finite_json, json_elements, written_elements
from inferencehub.gateway.json_codec.json_text import decode, load, mismatch
from inferencehub.gateway.json_codec.request_json import checked
from inferencehub.gateway.json_codec.tensor_json import Parameters, TensorBody, lengths, tensor_from_json

Fields = dict[str, msgspec.Raw]

_fields = msgspec.json.Decoder(Fields)
_parameters = msgspec.json.Decoder(Parameters)


def decode_fields(body: Body) -> Fields:
    """The values of a body by key, not read yet.

    Raises:
        HubError: BAD_INPUT if the body is no JSON object.
    """
    text = bytes(body)
    try:
        fields: Fields = _fields.decode(text)
        text.decode()  # what is not read yet is not checked yet
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        loaded = load(text) if text else None  # it may hold NaN
        if not isinstance(loaded, dict):
            fields = decode(_fields, text)  # raises the error
        else:
            fields = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in loaded.items()}
    return {name: value for name, value in fields.items() if bytes(value) != b"null"}


def id_of(fields: Fields) -> str | None:
    """The request's id, which the answer repeats; None if there is none.

    Raises:
        HubError: BAD_INPUT if it is no text.
    """
    if "id" not in fields:
        return None
    try:
        return msgspec.json.decode(fields["id"], type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        came = bytes(fields["id"])[:60].decode(errors="replace")
        raise bad_input(f"id: expected a string, got {came}") from None


def generate_request(info: ModelInfo, version: str, fields: Fields) -> InferRequest:
    """The request that a body asks for.

    Raises:
        HubError: BAD_INPUT naming the key, what was expected and what came.
    """
    names = {spec.name for spec in info.signature.inputs}
    batches = bool(info.signature.max_batch_size)
    inputs = [
        tensor_of(spec, batches, fields[spec.name]) for spec in info.signature.inputs if spec.name in fields
    ]
    parameters: dict[str, Parameter] = {}
    for name, value in fields.items():
        if name == "parameters" and name not in names:
            parameters |= checked(read_parameters(value, "parameters"))
        elif name not in names and name != "id":
            parameters |= checked(read_parameters(b'{"value":%b}' % bytes(value), name))
    missing = [spec for spec in info.signature.inputs if not spec.optional and spec.name not in fields]
    if missing and (taken := fields.keys() - names - {"id", "parameters"}):
        raise bad_input(
            f"model '{info.name}': input '{missing[0].name}' is missing, expected {listed(map(repr, info.signature.names))}; "
            f"{listed(map(repr, sorted(taken)))} came and was taken for a parameter, since a key is an input only if its name "
            "is exactly that of the input"
        )
    return InferRequest(info.name, version, tuple(inputs), (), parameters)


def read_parameters(text: bytes | msgspec.Raw, name: str) -> Parameters:
    """Parameters as they came; one that is a key of the body has that key as its `name`.

    Raises:
        HubError: BAD_INPUT if a value is no boolean, number or string.
    """
    try:
        read: Parameters = _parameters.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        what = "an object of parameters" if name == "parameters" else "an input of the model, or a parameter"
        why = f": {mismatch(error, name[:80])}" if isinstance(error, msgspec.ValidationError) else ""
        raise bad_input(
            f"'{name[:80]}': expected {what}, each a boolean, a finite number or a string{why}"
        ) from None
    return read if name == "parameters" else {name: read["value"]}


def tensor_of(spec: TensorSpec, batches: bool, value: msgspec.Raw) -> Tensor:
    """An input's tensor: one row, if the model batches and the value has no dimension for rows.

    Raises:
        HubError: BAD_INPUT naming the input, what was expected and what came.
    """
    text, row = bytes(value), spec.shape[1:] if batches else spec.shape
    data = value
    if text[:1] != b"[":
        data = msgspec.Raw(b"[%b]" % text)
    elif spec.any_shape:
        row = (-1,)
    came = lengths(load(bytes(data)))
    if batches and 1 < len(came) <= len(row):  # nested, without a level for rows
        came, data = (1, *came), msgspec.Raw(b"[%b]" % bytes(data))
    shape = came if len(came) > 1 else (*(1,) * batches, *flat_row(spec, row, came[0]))
    return tensor_from_json(TensorBody(spec.name, list(shape), spec.dtype, data))


def flat_row(spec: TensorSpec, row: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The shape of a row that came as a flat array of `count` elements.

    Args:
        spec: the input.
        row: the declared shape of a row.
        count: how many elements came.

    Raises:
        HubError: BAD_INPUT if the elements do not fit, or fit several shapes.
    """
    if len(row) == 1:
        return (count,)
    known, free = prod([dim for dim in row if dim != -1]), row.count(-1)
    if free > 1 or (free and (not known or count % known)):
        raise bad_input(
            f"input '{spec.name}' has shape {list(spec.shape)}, expected nested arrays, got a flat one of {count}"
        )
    return tuple([count // known if dim == -1 else dim for dim in row])


def generate_answer(response: InferResponse, id: str | None, json_outputs: Set[str]) -> bytes:
    """The JSON of an answer: each output by its name, as one value or as a flat array.

    Raises:
        HubError: as `infer_answer`, which also says what `json_outputs` are.
    """
    answer: dict[str, Any] = {} if id is None else {"id": id}
    answer |= {"model_name": response.model, "model_version": response.version}
    for tensor in response.outputs:
        values = (
            json_elements(response.model, tensor) if tensor.name in json_outputs else written_elements(tensor)
        )
        answer[tensor.name] = values[0] if isinstance(values, list) and len(values) == 1 else values
    text = encode(answer)
    return encode(finite_json(answer)) if b"null" in text else text
