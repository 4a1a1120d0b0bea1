"""Turns JSON bodies into requests.

msgspec decodes a body and checks its types in one pass. Compiled code reads long arrays of numbers, if it can. The
protocol's JSON may hold NaN and Infinity, which msgspec does not read: then the standard library reads the body again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from inferencehub.core.http1.handler import Body
from inferencehub.core.oip.extension import OURS
from inferencehub.core.values.errors import HubError, bad_input, shown
from inferencehub.core.values.parameters import (
    BINARY_OUTPUT,
    CONTENT_TYPE,
    check_tensor_parameters,
    class_count,
    reserved,
)
from inferencehub.core.values.requests import InferRequest, Parameter
from inferencehub.core.values.tensors import Tensor, checked_tensor
from inferencehub.gateway.json_codec import native_numbers
from inferencehub.gateway.json_codec.answer_json import Wanted
from inferencehub.gateway.json_codec.binary import Buffers, split
from inferencehub.gateway.json_codec.json_text import convert, decode, load, undecoded
from inferencehub.gateway.json_codec.long_arrays import cut_numbers, number_tensors
from inferencehub.gateway.json_codec.tensor_json import Parameters, TensorBody, from_base64, tensor_from_json


class PredictBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /predict."""

    features: list[float] | None = None
    text: str | None = None
    model_name: str = ""


class NestedFeatures(msgspec.Struct):
    """The features of such a body, where they are rows."""

    features: list[list[Any]]


class OutputBody(msgspec.Struct):
    """An output that the caller wants."""

    name: str
    parameters: Parameters | None = None


class InferBody(msgspec.Struct):
    """The body of an inference request (Open Inference Protocol, "Inference Request JSON Object").

    What is optional may be null, too.
    """

    inputs: list[TensorBody]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[OutputBody] | None = None


_predict = msgspec.json.Decoder(PredictBody)
_infer = msgspec.json.Decoder(InferBody)
NULL = msgspec.Raw(b"null")
LARGE_TEXT = 2**16  # bytes from which on it is worth looking for long arrays first


def decode_predict(body: Body) -> PredictBody:
    """Read the body of POST /predict.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    try:
        parsed: PredictBody = decode(_predict, bytes(body))
    except HubError as error:
        raise several_rows(body) or error from None
    if (parsed.features is None) == (parsed.text is None):
        both = "both" if parsed.text is not None else "neither"
        raise bad_input(f"expected either 'features' (an array of numbers) or 'text' (a string), got {both}")
    if parsed.features is not None and not parsed.features:
        raise bad_input("features: expected at least one number, got an empty array")
    return parsed


def several_rows(body: Body) -> HubError | None:
    """The error of a body of /predict with rows where it takes the numbers of one row; None for any other body."""
    try:
        features = msgspec.json.decode(bytes(body), type=NestedFeatures).features
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not features:  # no row at all: something else is wrong
        return None
    return bad_input(
        f"features: expected the numbers of one row in one array, got an array of rows ({len(features)}); "
        "/v1/models/<model>:predict takes several, as 'instances'"
    )


def decode_infer(
    body: Body, model: str, version: str, json_size: int | None = None
) -> tuple[InferRequest, Wanted]:
    """Read the body of an inference request; returns the request and what the caller wants in the answer.

    Args:
        body: JSON, and behind it raw tensors.
        model, version: from the path; version "" for the default one.
        json_size: bytes of the JSON; None if the whole body is JSON.

    Raises:
        HubError: BAD_INPUT naming the tensor, what was expected and what came.
    """
    text, buffers = split(body, json_size)
    parsed = decode_cut(text) or decode_any(text)
    wanted = Wanted(parsed.id)
    parameters = checked(parsed.parameters) if parsed.parameters else {}
    if BINARY_OUTPUT in parameters:
        wanted.all_binary = flag(BINARY_OUTPUT, parameters.pop(BINARY_OUTPUT))
    inputs = tuple([read_tensor(tensor, buffers) for tensor in parsed.inputs])
    buffers.end()
    outputs: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    if parsed.outputs:
        outputs, classes = read_outputs(parsed.outputs, wanted)
    return InferRequest(model, version, inputs, outputs, parameters, classes), wanted


def read_outputs(bodies: Sequence[OutputBody], wanted: Wanted) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The names of the outputs that the caller wants, and their classes as in `InferRequest.classes`.

    Args:
        bodies: the outputs as they came.
        wanted: gets which of them are to be binary.

    Raises:
        HubError: BAD_INPUT or UNSUPPORTED for a parameter that this server does not have.
    """
    names = tuple([body.name for body in bodies])
    counts = []
    for body in bodies:
        parameters = checked(body.parameters) if body.parameters else {}
        check_tensor_parameters(f"output '{body.name[:80]}'", parameters)
        if "binary_data" in parameters:
            wanted.binary[body.name] = flag("binary_data", parameters["binary_data"])
        counts.append(class_count(body.name, parameters))
    return names, tuple(counts) if any(counts) else ()


def flag(name: str, value: object) -> bool:
    """The value of a boolean parameter.

    Raises:
        HubError: BAD_INPUT if it is not true or false.
    """
    if not isinstance(value, bool):
        raise bad_input(f"parameter '{name}': expected true or false, got {shown(value)}")
    return value


def read_tensor(body: TensorBody | Tensor, buffers: Buffers) -> Tensor:
    """The tensor of an input, from the JSON or from the raw bytes behind it; a finished tensor is returned as it is.

    Raises:
        HubError: BAD_INPUT naming the input, what was expected and what came.
    """
    if isinstance(body, Tensor):
        return body
    size = None
    if body.parameters:
        if body.datatype == "BYTES" and body.parameters.get(CONTENT_TYPE) == "base64":
            parameters = {name: value for name, value in body.parameters.items() if name != CONTENT_TYPE}
            return from_base64(read_tensor(replace(body, parameters=parameters), buffers))
        check_tensor_parameters(f"input '{body.name[:80]}'", body.parameters)
        size = body.parameters.get("binary_data_size")
    has_data = bool(body.data) and body.data != NULL
    if size is None and has_data:
        return tensor_from_json(body)
    if size is None or has_data:
        got = "both" if has_data else "neither"
        raise bad_input(
            f"input '{body.name[:80]}': expected either data or the parameter binary_data_size, got {got}"
        )
    return checked_tensor(body.name, body.datatype, tuple(body.shape), buffers.take(body.name, size))


def checked(parameters: Parameters) -> dict[str, Parameter]:
    """The parameters that have a value, once their numbers are known to fit the protocol's types.

    Raises:
        HubError: BAD_INPUT for an integer beyond 64 bits, or a name that only servers may use.
    """
    for name, value in parameters.items():
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise bad_input(f"parameter '{name[:80]}' is {shown(value)}, expected an integer of 64 bits")
        if name.startswith(OURS):
            raise reserved(name)
    return {name: value for name, value in parameters.items() if value is not None}


def decode_cut(text: bytes) -> InferBody | None:
    """Read a large request with compiled code; None if there is no such code, or the request is not fit for it."""
    if native_numbers.native is None or len(text) < LARGE_TEXT:
        return None
    cut = cut_numbers(text)
    if cut is None:
        return None
    rest, cuts = cut
    try:
        parsed: InferBody = _infer.decode(rest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    inputs = number_tensors(text, parsed.inputs, cuts)
    if inputs is None:
        return None
    parsed.inputs = inputs  # type: ignore[assignment]
    return parsed


def decode_any(text: bytes) -> InferBody:
    """Read an inference request.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    try:
        parsed: InferBody = decode(_infer, text)
    except HubError:
        if b"NaN" not in text and b"Infinity" not in text:
            raise
        return decode_lenient(text)
    return parsed


def decode_lenient(body: bytes) -> InferBody:
    """Read an inference request that holds NaN or Infinity.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    value = load(body)
    inputs = value.get("inputs") if isinstance(value, dict) else None
    for tensor in inputs if isinstance(inputs, list) else ():
        if isinstance(tensor, dict) and "data" in tensor:
            tensor["data"] = undecoded(tensor["data"])
    return convert(value, InferBody)
