"""The request of `/predict`, the small call for any model: features or text in, a class and a confidence out.

The gateway serves it over HTTP, and the pods serve it as `inference.ModelInference/Predict`. Both turn it into an
ordinary inference request: the numbers or the text become the model's only input. `prediction.py` reads the answer.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from math import isfinite, prod

from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import ModelInfo, TensorSpec
from inferencehub.core.values.tensors import Tensor, pack_bytes
from inferencehub.pb import inference_pb2 as predict_pb

# struct format characters of the dtypes that Python numbers can become; FP16 and BF16 are not supported here.
CODES = {
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP32": "f",
    "FP64": "d",
}


def features_or_text(message: predict_pb.PredictRequest) -> tuple[Sequence[float] | None, str | None]:
    """What a request of Predict carries: its numbers or its text; the other one is None.

    Raises:
        HubError: BAD_INPUT if it has both, or neither.
    """
    features, text = message.features, message.text
    if bool(features) == bool(text):
        both = "both" if text else "neither"
        raise bad_input(f"expected either 'features' (numbers) or 'text' (a string), got {both}")
    return (None, text) if text else (features, None)


def predict_request(
    info: ModelInfo, version: str, features: Sequence[float] | None, text: str | None
) -> InferRequest:
    """A request with one row for the model's first input, made from finite numbers or from one text.

    Args:
        info: the model.
        version: the version to call; "" for the default version.
        features: the numbers; used if `text` is None.
        text: the text; None if the caller sent numbers.

    Raises:
        HubError: BAD_INPUT if the model takes the other kind (text or numbers) or another count, or if a number does
            not fit the input's dtype; UNSUPPORTED if /predict cannot fill the model's inputs or read its outputs.
    """
    if info.no_predict:
        raise cannot_predict(info, info.no_predict)
    spec = info.signature.inputs[0]
    if text is not None:
        if spec.dtype != "BYTES":
            raise bad_input(f"model '{info.name}' takes numbers: expected 'features', got 'text'")
        count, data = 1, pack_bytes([text.encode()])
    else:
        assert features is not None
        if spec.dtype == "BYTES":
            raise bad_input(f"model '{info.name}' takes text: expected 'text', got 'features'")
        count, data = len(features), pack_features(spec.dtype, features)
    tensor = Tensor(spec.name, spec.dtype, one_row(info, spec, count), data)  # a row of `count` holds them
    return InferRequest(info.name, version, (tensor,), (), {})


def cannot_predict(info: ModelInfo, reason: str) -> HubError:
    """The error for a model that /predict cannot serve."""
    return HubError(
        Kind.UNSUPPORTED,
        f"/predict cannot serve model '{info.name}': {reason}. It needs one input of numbers or text, and an output with "
        "a score for each of two or more classes or outputs that the config's predict_class and predict_confidence name; "
        f"use /v2/models/{info.name}/{'generate_stream' if info.signature.decoupled else 'infer'}",
    )


def pack_features(dtype: str, features: Sequence[float]) -> bytes:
    """Numbers as raw elements of `dtype`, a key of `CODES`. An integer dtype takes whole numbers only.

    Raises:
        HubError: BAD_INPUT if a number does not fit `dtype`.
    """
    code = CODES[dtype]
    floats = code in "fd"
    try:
        packed = packer(code, len(features)).pack(
            *(features if floats else [whole(value) for value in features])
        )
    except (OverflowError, ValueError, struct.error):
        packed = b""
    # The sum shows quickly whether all numbers are finite. It may be infinite for large finite numbers, too, so the
    # next function looks at each number.
    if not packed or (floats and not isfinite(sum(features))):
        refuse_misfit(dtype, code, features)
    return packed


@lru_cache(maxsize=256)
def packer(code: str, count: int) -> struct.Struct:
    """Packs `count` numbers. A number that does not fit its type raises OverflowError or struct.error.

    This is twice as fast as `array.array`, which also turns a finite number that is too large into infinity.
    """
    return struct.Struct(f"<{count}{code}")


def refuse_misfit(dtype: str, code: str, features: Sequence[float]) -> None:
    """Raise an error for the first number that `dtype` cannot hold, if there is one.

    Raises:
        HubError: BAD_INPUT that names the number's index.
    """
    expected = "a finite number" if code in "fd" else "a whole number"
    for index, value in enumerate(features):
        try:
            fits = isfinite(value) and struct.pack(f"<{code}", value if code in "fd" else whole(value))
        except (OverflowError, ValueError, struct.error):
            fits = b""
        if not fits:
            raise bad_input(f"features[{index}] is {value}, expected {expected} within the range of {dtype}")


def whole(value: float) -> int:
    """`value` as an integer.

    Raises:
        ValueError: if it has a fraction.
    """
    if value != int(value):
        raise ValueError(f"{value} is not whole")
    return int(value)


def one_row(info: ModelInfo, spec: TensorSpec, count: int) -> tuple[int, ...]:
    """The shape of a tensor that holds `count` values as one row of `spec`: [1, count] if it takes every shape.

    Raises:
        HubError: BAD_INPUT if there are too few or too many values.
    """
    if spec.any_shape:
        return (1, count)
    batches = bool(info.signature.max_batch_size)
    row = filled(spec.shape[1:] if batches else spec.shape, count)
    if row is None:
        known = prod([dim for dim in spec.shape[batches:] if dim != -1])
        things = "texts" if spec.dtype == "BYTES" else "features"
        taken = f"a multiple of {known}" if -1 in spec.shape[batches:] else str(known)
        raise bad_input(f"model '{info.name}' takes {taken} {things}, got {count}")
    return (1, *row) if batches else row


@lru_cache(maxsize=256)
def filled(dims: tuple[int, ...], count: int) -> tuple[int, ...] | None:
    """Replace the -1 (variable) dimensions in `dims`, so that the shape has `count` elements.

    If there are several variable dimensions, the last one gets all elements and the others become 1.

    Returns:
        The shape; None if `count` elements do not fit `dims`.
    """
    known = prod([dim for dim in dims if dim != -1])
    if -1 not in dims:
        return dims if count == known else None
    if known == 0 or count % known:
        return None
    shape, last = [1 if dim == -1 else dim for dim in dims], len(dims) - 1 - dims[::-1].index(-1)
    shape[last] = count // known
    return tuple(shape)
