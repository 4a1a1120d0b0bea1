"""Answers to JSON, as callers want them."""

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
    """An error as every path answers it that has no shape of its own."""
    return encode({"error": error.detail})


class PredictAnswer(msgspec.Struct, omit_defaults=True):
    """The answer of POST /predict; `label` is there where the model gives one."""

    class_id: int
    confidence: float
    error: str
    label: str = ""


class Wanted(msgspec.Struct):
    """How a caller wants the answer: its `id` in it, and which outputs as raw bytes behind the JSON."""

    id: str | None = None
    all_binary: bool = False
    binary: dict[str, bool] = {}


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
