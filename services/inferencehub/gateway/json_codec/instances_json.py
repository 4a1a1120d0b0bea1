"""Bodies of the V1 protocol: `{"instances": […]}` in, `{"predictions": […]}` out, one item for each row.

Source: KServe, "V1 Inference Protocol", which is the row format of TensorFlow Serving. An instance is the row of the
model's only input, or an object with a row for each input. A prediction is the row of the only output, or an object
with a row for each output. A row of one element may be the element itself, as in `{"instances": ["a text"]}`: models of
TensorFlow Serving take scalars, and its clients write so. Text that is not UTF-8 is written, and may be sent, as `{"b64": "…"}`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Set
from itertools import islice
from math import prod
from typing import Any

import msgspec

from inferencehub.core.http1.handler import Body
from inferencehub.core.values.errors import HubError, Kind, bad_input, shown
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.signature import ModelInfo, TensorSpec
from inferencehub.core.values.tensors import Tensor, checked_tensor, pack_bytes, unpack_bytes
from inferencehub.gateway.json_codec.answer_json import elements, encode, finite_json, json_elements
from inferencehub.gateway.json_codec.json_text import convert, decode, load, undecoded
from inferencehub.gateway.json_codec.tensor_json import (
    TensorBody,
    element_of,
    flatten,
    lengths,
    tensor_from_json,
)

WAY_OUT = "use /v2/models/{}/infer"


class InstancesBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a V1 request; `signature_name` may be there, as there is one signature."""

    instances: list[msgspec.Raw]
    signature_name: str | None = None


class Loaded(msgspec.Struct, forbid_unknown_fields=True):
    """The same, of a body that the standard library has read."""

    instances: list[Any]
    signature_name: str | None = None


_body = msgspec.json.Decoder(InstancesBody)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_instances(body: Body) -> list[msgspec.Raw]:
    """The instances of a body, not read yet.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    text = bytes(body)
    try:
        instances: list[msgspec.Raw] = _body.decode(text).instances
        text.decode()  # what is not read yet is not checked yet
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if b"NaN" not in text and b"Infinity" not in text:
            decode(_body, text)  # raises the error
        loaded = convert(load(text), Loaded).instances
        instances = [msgspec.Raw(json.dumps(instance).encode()) for instance in loaded]
    if not instances:
        raise bad_input("instances: expected at least one, got an empty array")
    return instances


def instances_request(info: ModelInfo, version: str, instances: list[msgspec.Raw]) -> InferRequest:
    """The request that instances ask for.

    Raises:
        HubError: BAD_INPUT naming the input, what was expected and what came.
    """
    signature = info.signature
    if bytes(instances[0])[:1] == b"{" and not is_b64(instances[0]):
        rows = [objects_of(instance, place) for place, instance in enumerate(instances)]
        names = set(rows[0])
        for place, row in enumerate(rows):
            if set(row) != names:
                raise bad_input(
                    f"instance {place} has the inputs {shown(sorted(row))}, expected those of the first one, "
                    f"{shown(sorted(names))}"
                )
        specs = {spec.name: spec for spec in signature.inputs}
        for name in names - specs.keys():
            raise bad_input(
                f"model '{info.name}': unknown input '{name[:80]}', expected {shown(signature.names)}"
            )
        columns = [(specs[name], [row[name] for row in rows]) for name in specs if name in names]
    else:
        if not signature.inputs or not signature.first_is_all:
            raise bad_input(
                f"model '{info.name}' has the inputs {shown(signature.names)}, expected an object with a value for each "
                "as every instance"
            )
        columns = [(signature.inputs[0], instances)]
    return InferRequest(info.name, version, tuple([column(spec, values) for spec, values in columns]))


def objects_of(instance: msgspec.Raw, place: int) -> dict[str, msgspec.Raw]:
    """An instance that is an object: a value for each input.

    Raises:
        HubError: BAD_INPUT if it is no object.
    """
    found = values_by_key(instance)
    if found is None:
        raise bad_input(f"instance {place}: expected an object with a value for each input")
    return found


def values_by_key(text: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """The values of an object, not read yet; None if the text is no object."""
    try:
        found: dict[str, msgspec.Raw] = _object.decode(text)
        return found
    except msgspec.DecodeError:
        loaded = load(bytes(text))  # it may hold NaN
    return {name: undecoded(value) for name, value in loaded.items()} if isinstance(loaded, dict) else None


def is_b64(value: msgspec.Raw) -> bool:
    """Whether a value is bytes in base64."""
    text = bytes(value)
    return len(text) > 7 and text.lstrip()[:1] == b"{" and set(values_by_key(value) or ()) == {"b64"}


def column(spec: TensorSpec, values: list[msgspec.Raw]) -> Tensor:
    """An input's tensor, whose first dimension is the instances.

    Raises:
        HubError: BAD_INPUT naming the input, what was expected and what came.
    """
    text = b"[%b]" % b",".join(map(bytes, values))
    loaded = load(text)
    given = shape = lengths(loaded)
    # Elements in place of rows. Numbers where a row has any size may be one row whose array is missing.
    single = (1, -1) if spec.dtype == "BYTES" else (1,)
    if len(given) == 1 and all(size in single for size in spec.shape[1:]):
        shape = (*given, *[1] * len(spec.shape[1:]))
    elif len(given) == len(spec.shape):  # the first row may be the wrong one
        shape = given = (
            given[0],
            *[own if own > 0 else size for own, size in zip(spec.shape[1:], given[1:], strict=True)],
        )
    if spec.dtype == "BYTES" and b'"b64"' in text:
        flat = flat_of(spec, loaded, given)
        data = pack_bytes([element_of(spec.name, item) for item in flat])
        return checked_tensor(spec.name, spec.dtype, shape, data)
    return tensor_from_json(TensorBody(spec.name, list(shape), spec.dtype, msgspec.Raw(text)))


def flat_of(spec: TensorSpec, values: Any, shape: tuple[int, ...]) -> list[Any]:
    """Nested lists as a flat one.

    Raises:
        HubError: BAD_INPUT if they are ragged.
    """
    try:
        return flatten(values, shape)
    except ValueError as error:
        raise bad_input(f"input '{spec.name}': expected instances of one shape: {error}") from None


def predictions_json(response: InferResponse, instances: int, json_outputs: Set[str]) -> bytes:
    """The JSON of an answer.

    Raises:
        HubError: UNSUPPORTED if an output has no row for each instance; else as `infer_answer`, which also says what
            `json_outputs` are.
    """
    model = response.model
    columns = {
        tensor.name: rows_of(model, tensor, instances, tensor.name in json_outputs)
        for tensor in response.outputs
    }
    predictions: list[Any]
    if len(columns) == 1:
        (predictions,) = columns.values()
    else:
        predictions = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    text = encode({"predictions": predictions})
    return encode(finite_json({"predictions": predictions})) if b"null" in text else text


def rows_of(model: str, tensor: Tensor, instances: int, is_json: bool) -> list[Any]:
    """An output as a list of one nested value for each instance; `is_json` says whether its BYTES are JSON.

    Raises:
        HubError: as `predictions_json`.
    """
    if not tensor.shape or tensor.shape[0] != instances:
        raise HubError(
            Kind.UNSUPPORTED,
            f"model '{model}': output '{tensor.name}' has shape {list(tensor.shape)}, expected a row for each of "
            f"{instances} instances; {WAY_OUT.format(model)}",
        )
    values = json_elements(model, tensor) if is_json else values_of(tensor)
    return nested(iter(values), tensor.shape)


def values_of(tensor: Tensor) -> list[Any]:
    """The elements of an output; BYTES that are no text as `{"b64": …}`."""
    if tensor.dtype != "BYTES":
        return elements(tensor)
    found: list[Any] = []
    for element in unpack_bytes(tensor.data):
        try:
            found.append(element.decode())
        except UnicodeDecodeError:
            found.append({"b64": b64encode(element).decode()})
    return found


def nested(values: Any, shape: tuple[int, ...]) -> list[Any]:
    """The next elements of an iterator as nested lists of a shape."""
    if len(shape) == 1 or not prod(shape):
        return list(islice(values, shape[0])) if len(shape) == 1 else [[] for _ in range(shape[0])]
    return [nested(values, shape[1:]) for _ in range(shape[0])]
