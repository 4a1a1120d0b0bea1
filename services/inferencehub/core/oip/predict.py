"""`/predict`, the small call for any model: features or text in, a class and a confidence out.

The gateway serves it over HTTP, and the pods serve it as `inference.ModelInference/Predict`. Both turn it into an
ordinary inference request: the numbers or the text become the model's first input. The config's parameters
`predict_class`, `predict_confidence` and `predict_label` name the outputs with the class, confidence and label. Without
these parameters, the class is the argmax of the first output. The confidence is then its softmax value, or the value
itself if the output is a probability distribution already.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from math import exp, isfinite, prod
from typing import Any

import msgspec

from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.signature import ModelInfo, TensorSpec
from inferencehub.core.values.tensors import Tensor, pack_bytes, unpack_bytes

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

FIRST = {dtype: struct.Struct(f"<{code}").unpack_from for dtype, code in CODES.items()}
MOST_SCORES = 2**17  # more classes than any classifier has, and few enough to read on the event loop


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """A class, how sure the model is of it (0 to 1), and the class's name where the model gives one."""

    class_id: int
    confidence: float
    label: str = ""


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
            not fit the input's dtype; UNSUPPORTED if the model has no input that /predict can fill.
    """
    spec = info.pick_input()
    if text is not None:
        if spec.dtype != "BYTES":
            raise bad_input(f"model '{info.name}' takes numbers: expected 'features', got 'text'")
        count, data = 1, pack_bytes([text.encode()])
    else:
        assert features is not None
        if spec.dtype == "BYTES":
            raise bad_input(f"model '{info.name}' takes text: expected 'text', got 'features'")
        count, data = len(features), pack_features(info.name, spec.dtype, features)
    tensor = Tensor(spec.name, spec.dtype, one_row(info, spec, count), data)  # a row of `count` holds them
    return InferRequest(info.name, version, (tensor,), (), {})


def pack_features(model: str, dtype: str, features: Sequence[float]) -> bytes:
    """Numbers as raw elements of `dtype`. An integer dtype takes whole numbers only.

    Raises:
        HubError: BAD_INPUT if a number does not fit `dtype`, UNSUPPORTED if `dtype` is FP16 or BF16.
    """
    code = CODES.get(dtype)
    if code is None:
        raise HubError(
            Kind.UNSUPPORTED, f"model '{model}' takes {dtype}, which /predict cannot give; use /v2"
        )
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
    """The shape of a tensor that holds `count` values as one row of `spec`.

    Raises:
        HubError: BAD_INPUT if there are too few or too many values.
    """
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


def read_prediction(info: ModelInfo, response: InferResponse) -> Prediction:
    """Class, confidence and label of the first row.

    Raises:
        HubError: MODEL_FAILED if the outputs contain no usable class, UNSUPPORTED if there are too many scores.
    """
    class_output, confidence_output, label_output = info.predicted
    label = first_text(response.output(label_output)) if label_output else ""
    if class_output:
        confidence = first_number(response.output(confidence_output)) if confidence_output else 1.0
        class_id = first_number(response.output(class_output))
        if not abs(class_id) < 2**31 or not isfinite(confidence):
            raise HubError(
                Kind.MODEL_FAILED, f"model '{info.name}' gave no class of 32 bits with a finite confidence"
            )
        return Prediction(int(class_id), confidence, label)
    if not response.outputs:
        raise HubError(Kind.MODEL_FAILED, f"model '{info.name}' gave no output")
    scores = numbers(response.outputs[0])
    if len(scores) > MOST_SCORES:
        raise HubError(
            Kind.UNSUPPORTED,
            f"model '{info.name}' gave {len(scores)} scores, expected at most {MOST_SCORES}; use /v2",
        )
    total = sum(scores)  # not finite if a score is not finite; very large scores can make it infinite, too
    if not scores or (not isfinite(total) and not all(map(isfinite, scores))):
        raise HubError(Kind.MODEL_FAILED, f"model '{info.name}' gave no finite score")
    highest = max(scores)
    best = scores.index(highest)
    if min(scores) >= 0.0 and abs(total - 1.0) < 1e-3:
        return Prediction(best, highest, label)  # a distribution
    return Prediction(best, 1.0 / sum([exp(score - highest) for score in scores]), label)


def first_text(tensor: Tensor) -> str:
    """The first element of a BYTES tensor as text.

    Raises:
        HubError: MODEL_FAILED if the tensor is empty or not of BYTES.
    """
    if tensor.dtype != "BYTES" or not len(tensor.data):
        raise HubError(
            Kind.MODEL_FAILED,
            f"output '{tensor.name}' is {tensor.dtype} {list(tensor.shape)}: no label in it",
        )
    return unpack_bytes(tensor.data)[0].decode(errors="replace")


def first_number(tensor: Tensor) -> float:
    """The first element of a numeric tensor.

    Raises:
        HubError: MODEL_FAILED if the tensor is empty or not numeric.
    """
    unpack = FIRST.get(tensor.dtype)
    if unpack is None or not tensor.data:
        raise no_class(tensor)
    number: float = unpack(tensor.data)[0]
    return number


def numbers(tensor: Tensor) -> list[float]:
    """All elements of a numeric tensor.

    Raises:
        HubError: MODEL_FAILED if the tensor is empty or not numeric.
    """
    code = CODES.get(tensor.dtype)
    if code is None or not tensor.data:
        raise no_class(tensor)
    view: Any = memoryview(tensor.data)
    values: list[float] = view.cast(code).tolist()
    return values


def no_class(tensor: Tensor) -> HubError:
    """The error for an output that contains no numbers."""
    return HubError(
        Kind.MODEL_FAILED, f"output '{tensor.name}' is {tensor.dtype} {list(tensor.shape)}: no class in it"
    )
