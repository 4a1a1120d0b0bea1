"""Turns answers and errors into JSON."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Set
from typing import Any

import msgspec

from inferencehub.core.oip.predict import CODES
from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import DTYPES, Buffer, Tensor, unpack_bytes
from inferencehub.gateway.json_codec.json_text import json_number

encode = msgspec.json.Encoder().encode
PIECE = 2**16  # bytes of numbers that are encoded together: some ms; a multiple of every element's size


def error_json(error: HubError) -> bytes:
    """The JSON of an error, for every path except /predict, which has its own shape."""
    return encode({"error": error.detail})


class PredictAnswer(msgspec.Struct, omit_defaults=True):
    """The answer of POST /predict; `label` is left out if the model gives none."""

    class_id: int
    confidence: float
    error: str
    label: str = ""


class Wanted(msgspec.Struct):
    """What a caller wants in the answer: its `id`, and which outputs as raw bytes behind the JSON."""

    id: str | None = None
    all_binary: bool = False
    binary: dict[str, bool] = {}


def infer_answer(
    response: InferResponse, wanted: Wanted, json_outputs: Set[str] = frozenset()
) -> tuple[bytes, list[Buffer]]:
    """The protocol's JSON answer ("Inference Response JSON Object"), with flat `data`, and the raw outputs behind it.

    Args:
        response: the model's answer.
        wanted: what the caller wants of it.
        json_outputs: names of the outputs whose BYTES are JSON, which become values of it; raw ones stay as they are.

    Raises:
        HubError: BAD_INPUT if JSON cannot carry an output, MODEL_FAILED if an output of `json_outputs` is no JSON.
    """
    outputs: list[dict[str, Any]] = []
    raw: list[Buffer] = []
    for tensor in response.outputs:
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.dtype, "shape": tensor.shape}
        if wanted.binary.get(tensor.name, wanted.all_binary):
            output["parameters"] = {"binary_data_size": len(tensor.data)}
            raw.append(tensor.data)
        elif tensor.name in json_outputs:
            output["data"] = json_elements(response.model, tensor)
        else:
            output["data"] = written_elements(tensor)
        outputs.append(output)
    answer: dict[str, Any] = {
        "model_name": response.model,
        "model_version": response.version,
        "outputs": outputs,
    }
    if wanted.id is not None:
        answer["id"] = wanted.id
    if response.parameters:
        answer["parameters"] = response.parameters
    text = encode(answer)
    if b"null" in text:  # msgspec writes it for a number that is not finite
        text = encode(finite_json(answer))
    return text, raw


def finite_json(value: Any) -> Any:
    """A value in which strings stand for the numbers that JSON does not have."""
    if isinstance(value, float):
        return json_number(value)
    if isinstance(value, dict):
        return {name: finite_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [finite_json(item) for item in value]
    return value


def elements(tensor: Tensor) -> list[Any]:
    """The elements of a tensor as JSON values, in one flat list.

    Raises:
        HubError: BAD_INPUT for BYTES that are not UTF-8 text, or a datatype that JSON cannot carry: the caller has to
            ask for binary output.
    """
    if tensor.dtype == "BYTES":
        try:
            return [element.decode() for element in unpack_bytes(tensor.data)]
        except UnicodeDecodeError:
            raise not_in_json(tensor.name, "holds bytes that are no UTF-8 text") from None
    if tensor.dtype == "BOOL":
        return [bool(value) for value in tensor.data]
    if tensor.dtype == "FP16":
        return list(struct.unpack(f"<{len(tensor.data) // 2}e", tensor.data))
    code = CODES.get(tensor.dtype)
    if code is None:
        raise not_in_json(tensor.name, f"is {tensor.dtype}")
    values = array(code)
    values.frombytes(tensor.data)
    return values.tolist()


def written_elements(tensor: Tensor) -> list[Any] | msgspec.Raw:
    """The elements of a tensor for the encoder: as `elements`, or as JSON that is written already if they are many numbers.

    One call of the encoder keeps all other threads waiting, and so the event loop, wherever it runs. Many calls do not.

    Raises:
        HubError: as `elements`.
    """
    data = memoryview(tensor.data)
    if len(data) <= PIECE or not DTYPES[tensor.dtype]:
        return elements(tensor)
    pieces = []
    for start in range(0, len(data), PIECE):
        values = elements(Tensor(tensor.name, tensor.dtype, (), data[start : start + PIECE]))
        text = encode(values)
        pieces.append((encode(finite_json(values)) if b"null" in text else text)[1:-1])
    return msgspec.Raw(b"[%b]" % b",".join(pieces))


def json_elements(model: str, tensor: Tensor) -> list[msgspec.Raw]:
    """The elements of an output of BYTES that are JSON, as values for the encoder: on one line, numbers as they are written.

    Raises:
        HubError: MODEL_FAILED if an element is no JSON.
    """
    values = []
    for number, element in enumerate(unpack_bytes(tensor.data)):
        try:
            value = msgspec.json.format(element, indent=-1)
            value.decode()  # which it does not check
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            detail = f"element {number} of output '{tensor.name}' is no JSON, as its config says: {error}"
            raise HubError(Kind.MODEL_FAILED, f"model '{model}': {detail}") from None
        values.append(msgspec.Raw(value))
    return values


def not_in_json(output: str, why: str) -> HubError:
    """The error for an output that JSON cannot carry. The model did its work, so it is not the model's failure."""
    return bad_input(
        f"output '{output}' {why}, which JSON cannot carry: expected a request for binary output, with the parameter "
        "binary_data of this output or binary_data_output of the request"
    )
