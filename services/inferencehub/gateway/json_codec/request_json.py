"""Turns JSON bodies into requests.

msgspec decodes a body and checks its types in one pass. Compiled code reads long arrays of numbers, if it can. The
protocol's JSON may hold NaN and Infinity, which msgspec does not read: then the standard library reads the body again.
"""

from __future__ import annotations

import msgspec

from inferencehub.core.http1.handler import Body
from inferencehub.core.oip.extension import OURS
from inferencehub.core.values.call_rules import refuse_reserved
from inferencehub.core.values.errors import HubError, bad_input, shown
from inferencehub.core.values.requests import InferRequest, Parameter
from inferencehub.core.values.tensors import Tensor, checked_tensor
from inferencehub.gateway.json_codec import native_numbers
from inferencehub.gateway.json_codec.answer_json import Wanted
from inferencehub.gateway.json_codec.binary import Buffers, split
from inferencehub.gateway.json_codec.json_text import convert, decode, load, undecoded
from inferencehub.gateway.json_codec.long_arrays import cut_numbers, number_tensors
from inferencehub.gateway.json_codec.tensor_json import TensorBody, tensor_from_json


class PredictBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /predict."""

    features: list[float] | None = None
    text: str | None = None
    model_name: str = ""


class OutputBody(msgspec.Struct):
    """An output that the caller wants."""

    name: str
    parameters: dict[str, bool | int | float | str] = {}


class InferBody(msgspec.Struct):
    """The body of an inference request (Open Inference Protocol, "Inference Request JSON Object")."""

    inputs: list[TensorBody]
    id: str | None = None
    parameters: dict[str, bool | int | float | str] = {}
    outputs: list[OutputBody] = []


_predict = msgspec.json.Decoder(PredictBody)
_infer = msgspec.json.Decoder(InferBody)
LARGE_TEXT = 2**16  # bytes from which on it is worth looking for long arrays first
SERVERS_OWN = (OURS, "triton_")  # prefixes of parameters that only servers may set


def decode_predict(body: Body) -> PredictBody:
    """Read the body of POST /predict.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    parsed: PredictBody = decode(_predict, bytes(body))
    if (parsed.features is None) == (parsed.text is None):
        both = "both" if parsed.text is not None else "neither"
        raise bad_input(f"expected either 'features' (an array of numbers) or 'text' (a string), got {both}")
    if parsed.features is not None and not parsed.features:
        raise bad_input("features: expected at least one number, got an empty array")
    return parsed


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
    if "binary_data_output" in parsed.parameters:
        wanted.all_binary = flag("binary_data_output", parsed.parameters.pop("binary_data_output"))
    refuse_reserved(parsed.parameters, SERVERS_OWN)
    inputs = tuple([read_tensor(tensor, buffers) for tensor in parsed.inputs])
    buffers.end()
    outputs = tuple([output.name for output in parsed.outputs])
    if len(set(outputs)) != len(outputs):
        raise bad_input(f"expected each output once, got {shown(list(outputs))}")
    for output in parsed.outputs:
        if "binary_data" in output.parameters:
            wanted.binary[output.name] = flag("binary_data", output.parameters["binary_data"])
    return InferRequest(model, version, inputs, outputs, checked(parsed.parameters)), wanted


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
    size = body.parameters.get("binary_data_size")
    if size is None and body.data:
        return tensor_from_json(body)
    if size is None or body.data:
        got = "both" if body.data else "neither"
        raise bad_input(
            f"input '{body.name[:80]}': expected either data or the parameter binary_data_size, got {got}"
        )
    return checked_tensor(body.name, body.datatype, tuple(body.shape), buffers.take(body.name, size))


def checked(parameters: dict[str, bool | int | float | str]) -> dict[str, Parameter]:
    """The parameters, once their numbers are known to fit the protocol's types.

    Raises:
        HubError: BAD_INPUT for an integer beyond 64 bits.
    """
    for name, value in parameters.items():
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise bad_input(f"parameter '{name[:80]}' is {shown(value)}, expected an integer of 64 bits")
    return parameters


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
