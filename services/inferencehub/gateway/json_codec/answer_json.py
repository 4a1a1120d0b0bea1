"""Turns answers and errors into JSON."""

from __future__ import annotations

import struct
from array import array
from typing import Any

import msgspec

from inferencehub.core.oip.predict import CODES
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.tensors import Buffer, Tensor, unpack_bytes

encode = msgspec.json.Encoder().encode


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


def infer_answer(response: InferResponse, wanted: Wanted) -> tuple[bytes, list[Buffer]]:
    """The protocol's JSON answer ("Inference Response JSON Object"), with flat `data`, and the raw outputs behind it.

    Raises:
        HubError: MODEL_FAILED or UNSUPPORTED if JSON cannot carry an output.
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
    """The elements of a tensor as JSON values, in one flat list.

    Raises:
        HubError: MODEL_FAILED for BYTES that are not UTF-8 text, UNSUPPORTED for a datatype that JSON cannot carry.
    """
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
