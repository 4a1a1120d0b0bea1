"""JSON to requests and answers to JSON: the one place where either is looked at.

msgspec decodes and checks the types in one pass, and `data` of a tensor stays undecoded until its datatype is known,
so that numbers go straight into a typed list. What msgspec does not read, NaN and Infinity, the protocol's JSON may
hold all the same: then the standard library reads the body a second time.
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from inferencehub.core.errors import HubError, Kind, bad_input, shown
from inferencehub.core.messages import RESERVED_PARAMETERS, InferRequest, InferResponse, Parameter
from inferencehub.core.predict import CODES, packer
from inferencehub.core.tensors import Buffer, Tensor, element_count, pack_bytes, unpack_bytes
from inferencehub.core.wire import OURS
from inferencehub.gateway.binary import Buffers, split
from inferencehub.gateway.body import Body
from inferencehub.gateway.json_text import LONE, convert, decode, finite, integer, load, mismatch, undecoded

NO_DATA = msgspec.Raw()


class PredictBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /predict."""

    features: list[float] | None = None
    text: str | None = None
    model_name: str = ""


class PredictAnswer(msgspec.Struct, omit_defaults=True):
    """The answer of POST /predict; `label` is there where the model gives one."""

    class_id: int
    confidence: float
    error: str
    label: str = ""


class TensorBody(msgspec.Struct):
    """An input of the protocol's JSON; `data` is empty where its bytes are behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = NO_DATA
    parameters: dict[str, bool | int | float | str] = {}


class OutputBody(msgspec.Struct):
    """A wanted output."""

    name: str
    parameters: dict[str, bool | int | float | str] = {}


class InferBody(msgspec.Struct):
    """The body of an inference request (Open Inference Protocol, "Inference Request JSON Object")."""

    inputs: list[TensorBody]
    id: str | None = None
    parameters: dict[str, bool | int | float | str] = {}
    outputs: list[OutputBody] = []


class Wanted(msgspec.Struct):
    """How a caller wants the answer: its `id` in it, and which outputs as raw bytes behind the JSON."""

    id: str | None = None
    all_binary: bool = False
    binary: dict[str, bool] = {}


_predict = msgspec.json.Decoder(PredictBody)
_infer = msgspec.json.Decoder(InferBody)
_numbers = msgspec.json.Decoder(list[float])
_integers = msgspec.json.Decoder(list[int])
_booleans = msgspec.json.Decoder(list[bool])
_strings = msgspec.json.Decoder(list[str])
encode = msgspec.json.Encoder().encode

FLAT: dict[str, tuple[msgspec.json.Decoder[Any], type]] = {
    "BOOL": (_booleans, bool),
    "BYTES": (_strings, str),
    **{name: (_integers, int) for name in CODES if "INT" in name},
    **dict.fromkeys(("FP16", "FP32", "FP64"), (_numbers, float)),
}
SERVERS_OWN = (OURS, "triton_")  # what servers tell each other, with these prefixes


def decode_predict(body: Body) -> PredictBody:
    """The body of POST /predict.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    parsed: PredictBody = decode(_predict, body)
    if (parsed.features is None) == (parsed.text is None):
        both = "both" if parsed.text is not None else "neither"
        raise bad_input(f"expected either 'features' (an array of numbers) or 'text' (a string), got {both}")
    if parsed.features is not None and not parsed.features:
        raise bad_input("features: expected at least one number, got an empty array")
    return parsed


def decode_infer(
    body: Body, model: str, version: str, json_size: int | None = None
) -> tuple[InferRequest, Wanted]:
    """The body of an inference request, and how the answer is to be.

    Args:
        body: JSON, and behind it raw tensors.
        model, version: what is called.
        json_size: the size of the JSON, None where the body is nothing else.

    Raises:
        HubError: BAD_INPUT naming the tensor, what was expected and what came.
    """
    text, buffers = split(body, json_size)
    try:
        parsed: InferBody = decode(_infer, text)
    except HubError:
        if b"NaN" not in text and b"Infinity" not in text:
            raise
        parsed = decode_lenient(text)
    wanted = Wanted(parsed.id)
    if "binary_data_output" in parsed.parameters:
        wanted.all_binary = flag("binary_data_output", parsed.parameters.pop("binary_data_output"))
    for name in parsed.parameters:
        if name.startswith(SERVERS_OWN) or name in RESERVED_PARAMETERS:
            raise bad_input(
                f"parameter '{name[:80]}' is reserved, expected 'timeout' or parameters of the model"
            )
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
    """A parameter that is true or false.

    Raises:
        HubError: BAD_INPUT where it is neither.
    """
    if not isinstance(value, bool):
        raise bad_input(f"parameter '{name}': expected true or false, got {shown(value)}")
    return value


def read_tensor(body: TensorBody, buffers: Buffers) -> Tensor:
    """An input, out of the JSON or out of what is behind it.

    Raises:
        HubError: BAD_INPUT naming the input, what was expected and what came.
    """
    size = body.parameters.get("binary_data_size")
    if size is None and body.data:
        return tensor_from_json(body)
    if size is None or body.data:
        got = "both" if body.data else "neither"
        raise bad_input(
            f"input '{body.name[:80]}': expected either data or the parameter binary_data_size, got {got}"
        )
    return Tensor(body.name, body.datatype, tuple(body.shape), buffers.take(body.name, size))


def checked(parameters: dict[str, bool | int | float | str]) -> dict[str, Parameter]:
    """Parameters whose numbers fit the protocol's types."""
    for name, value in parameters.items():
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise bad_input(f"parameter '{name[:80]}' is {shown(value)}, expected an integer of 64 bits")
    return parameters


def decode_lenient(body: Body) -> InferBody:
    """An inference request that holds NaN or Infinity.

    Raises:
        HubError: BAD_INPUT saying what was expected.
    """
    value = load(body)
    inputs = value.get("inputs") if isinstance(value, dict) else None
    for tensor in inputs if isinstance(inputs, list) else ():
        if isinstance(tensor, dict) and "data" in tensor:
            tensor["data"] = undecoded(tensor["data"])
    return convert(value, InferBody)


def tensor_from_json(body: TensorBody) -> Tensor:
    """An input whose elements are packed, flat or nested as its shape says."""
    if body.datatype not in FLAT:
        raise bad_input(
            f"input '{body.name[:80]}': datatype {shown(body.datatype)}, expected one of {', '.join(FLAT)}"
        )
    count = element_count(body.name, body.shape)
    decoder, kind = FLAT[body.datatype]
    try:
        values = decoder.decode(body.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        values = nested(body, kind)
    if len(values) != count:
        raise bad_input(
            f"input '{body.name[:80]}': shape {shown(body.shape)} needs {count} elements, got {len(values)}"
        )
    return Tensor(body.name, body.datatype, tuple(body.shape), pack(body.name, body.datatype, values))


def nested(body: TensorBody, kind: type) -> list[Any]:
    """The elements of nested arrays, or of flat ones with NaN in them, as a flat list of `kind`."""
    try:
        value = json.loads(bytes(body.data), parse_float=finite, parse_int=integer)
        deep = isinstance(value, list) and value and isinstance(value[0], list)
        return msgspec.convert(flatten(value, body.shape) if deep else value, list[kind])  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        why = mismatch(error, "data")
    except UnicodeDecodeError:
        why = "it holds bytes that are no UTF-8 text"
    except ValueError as error:
        why = str(error)[:200]
    except RecursionError:
        why = "it is nested too deeply"
    expected = {bool: "booleans", str: "strings", int: "integers", float: "numbers"}[kind]
    raise bad_input(
        f"input '{body.name[:80]}': expected data to be an array of {expected}, flat or nested as shape "
        f"{shown(body.shape)} says: {why}"
    )


def flatten(value: Any, shape: Sequence[int]) -> list[Any]:
    """Nested lists of exactly this shape, as one flat list."""
    if not shape:
        raise ValueError("it has more levels than the shape has dimensions")
    if not isinstance(value, list) or len(value) != shape[0]:
        got = f"an array of {len(value)}" if isinstance(value, list) else "a single value"
        raise ValueError(f"expected an array of {shape[0]}, got {got}")
    if len(shape) == 1:
        return value
    flat: list[Any] = []
    for part in value:
        flat += flatten(part, shape[1:])
    return flat


def pack(name: str, datatype: str, values: list[Any]) -> bytes:
    """Elements as raw bytes of a datatype.

    Raises:
        HubError: BAD_INPUT where one is out of the datatype's range.
    """
    if datatype == "BOOL":
        return bytes(values)
    try:
        if datatype == "BYTES":
            return pack_bytes([value.encode() for value in values])
        return packer(CODES.get(datatype, "e"), len(values)).pack(*values)
    except UnicodeEncodeError:
        raise bad_input(f"input '{name[:80]}': an element is no text: {LONE}") from None
    except (OverflowError, struct.error):
        refuse_range(name, datatype, values)


def refuse_range(name: str, datatype: str, values: list[Any]) -> NoReturn:
    """Raise the error of the first element that is out of range."""
    code = "<" + CODES.get(datatype, "e")
    for index, value in enumerate(values):
        try:
            struct.pack(code, value)
        except (OverflowError, struct.error):
            raise bad_input(
                f"input '{name[:80]}': element {index} is {shown(value)}, out of the range of {datatype}"
            ) from None
    raise AssertionError("each of them fits")


def infer_answer(response: InferResponse, wanted: Wanted) -> tuple[bytes, list[Buffer]]:
    """The protocol's JSON answer ("Inference Response JSON Object"), and raw outputs behind it; `data` is flat.

    Raises:
        HubError: MODEL_FAILED where an output cannot be JSON.
    """
    outputs: list[dict[str, Any]] = []
    raw: list[Buffer] = []
    for tensor in response.outputs:
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.dtype, "shape": tensor.shape}
        if wanted.binary.get(tensor.name, wanted.all_binary):
            output["parameters"] = {"binary_data_size": len(tensor.data)}
            raw.append(tensor.data)
        else:
            output["data"] = elements(tensor)
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
    return encode(answer), raw


def elements(tensor: Tensor) -> list[Any]:
    """The elements of a tensor as JSON values."""
    if tensor.dtype == "BYTES":
        try:
            return [element.decode() for element in unpack_bytes(tensor.data)]
        except UnicodeDecodeError:
            raise HubError(
                Kind.MODEL_FAILED,
                f"output '{tensor.name}' holds bytes that are no UTF-8 text, which JSON cannot carry",
            ) from None
    if tensor.dtype == "BOOL":
        return [bool(value) for value in tensor.data]
    if tensor.dtype == "FP16":
        return list(struct.unpack(f"<{len(tensor.data) // 2}e", tensor.data))
    code = CODES.get(tensor.dtype)
    if code is None:
        raise HubError(Kind.UNSUPPORTED, f"output '{tensor.name}' is {tensor.dtype}, which JSON cannot carry")
    values = array(code)
    values.frombytes(tensor.data)
    return values.tolist()
