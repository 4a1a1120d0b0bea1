"""`/predict`, the small call: features or text in, a class and a confidence out, of any model.

Served over HTTP by the gateway and as `inference.ModelInference/Predict` by the pods; both are a thin reading of the
same request. The numbers or the text go to the model's first input. Class, confidence and label come from the outputs
that the config's parameters `predict_class`, `predict_confidence` and `predict_label` name, else from the argmax of
the first output, whose values go through a softmax unless they are a distribution already.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from math import exp, isfinite, prod
from typing import Any

from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.requests import InferRequest, InferResponse
from inferencehub.core.values.signature import ModelInfo, TensorSpec
from inferencehub.core.values.tensors import Tensor, pack_bytes, trusted, unpack_bytes
from inferencehub.core.values.value_class import value_class

# array type codes of the dtypes that Python numbers turn into; FP16 and BF16 have none.
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
MOST_SCORES = 2**17  # more classes than any classifier has, and few enough to look at on the event loop


@value_class(frozen=True, slots=True)
class Prediction:
    """A class, how sure the model is of it (0 to 1), and the class's name where the model gives one."""

    class_id: int
    confidence: float
    label: str = ""


def predict_request(
    info: ModelInfo, version: str, features: Sequence[float] | None, text: str | None
) -> InferRequest:
    """One row of `info`'s first input, out of finite numbers or a text.

    Raises:
        HubError: BAD_INPUT where the model takes the other kind, another count, or numbers of a smaller range.
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
    tensor = trusted(spec.name, spec.dtype, one_row(info, spec, count), data)  # a row of `count` holds them
    return InferRequest(info.name, version, (tensor,), (), {})


def pack_features(model: str, dtype: str, features: Sequence[float]) -> bytes:
    """Numbers as raw elements of `dtype`; whole numbers only where it is an integer type."""
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
    # One addition each finds what is not finite; the sum of large numbers may be infinite, too.
    if not packed or (floats and not isfinite(sum(features))):
        refuse_misfit(dtype, code, features)
    return packed


@lru_cache(maxsize=256)
def packer(code: str, count: int) -> struct.Struct:
    """Packs `count` numbers; one that does not fit its type is an OverflowError or a struct.error.

    Twice as fast as an `array`, which also lets a finite number become infinite.
    """
    return struct.Struct(f"<{count}{code}")


def refuse_misfit(dtype: str, code: str, features: Sequence[float]) -> None:
    """Raise the error of the first number that `dtype` cannot hold, if there is one."""
    expected = "a finite number" if code in "fd" else "a whole number"
    for index, value in enumerate(features):
        try:
            fits = isfinite(value) and struct.pack(f"<{code}", value if code in "fd" else whole(value))
        except (OverflowError, ValueError, struct.error):
            fits = b""
        if not fits:
            raise bad_input(f"features[{index}] is {value}, expected {expected} within the range of {dtype}")


def whole(value: float) -> int:
    """`value` as an integer; refuses a fraction."""
    if value != int(value):
        raise ValueError(f"{value} is not whole")
    return int(value)


def one_row(info: ModelInfo, spec: TensorSpec, count: int) -> tuple[int, ...]:
    """The shape that `count` values take as one row of `spec`.

    Raises:
        HubError: BAD_INPUT where they are too few or too many.
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
    """Dimensions of which some are -1, for any, as `count` values fill them; None where these do not.

    Of several variable dimensions the last one takes all.
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
        HubError: MODEL_FAILED where the outputs hold no such thing.
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
    total = sum(scores)  # of numbers that are not all finite it is not finite, nor perhaps of very large ones
    if not scores or (not isfinite(total) and not all(map(isfinite, scores))):
        raise HubError(Kind.MODEL_FAILED, f"model '{info.name}' gave no finite score")
    highest = max(scores)
    best = scores.index(highest)
    if min(scores) >= 0.0 and abs(total - 1.0) < 1e-3:
        return Prediction(best, highest, label)  # a distribution
    return Prediction(best, 1.0 / sum([exp(score - highest) for score in scores]), label)


def first_text(tensor: Tensor) -> str:
    """The first element of a tensor of texts."""
    if tensor.dtype != "BYTES" or not len(tensor.data):
        raise HubError(
            Kind.MODEL_FAILED,
            f"output '{tensor.name}' is {tensor.dtype} {list(tensor.shape)}: no label in it",
        )
    return unpack_bytes(tensor.data)[0].decode(errors="replace")


def first_number(tensor: Tensor) -> float:
    """The first element of a numeric tensor."""
    unpack = FIRST.get(tensor.dtype)
    if unpack is None or not tensor.data:
        raise no_class(tensor)
    number: float = unpack(tensor.data)[0]
    return number


def numbers(tensor: Tensor) -> list[float]:
    """The elements of a numeric tensor."""
    code = CODES.get(tensor.dtype)
    if code is None or not tensor.data:
        raise no_class(tensor)
    return elements(tensor, code)


def elements(tensor: Tensor, code: str) -> list[Any]:
    """All elements of a tensor, each of which `code` says how to read."""
    view: Any = memoryview(tensor.data)
    values: list[Any] = view.cast(code).tolist()
    return values


def no_class(tensor: Tensor) -> HubError:
    """The error of an output in which there are no numbers."""
    return HubError(
        Kind.MODEL_FAILED, f"output '{tensor.name}' is {tensor.dtype} {list(tensor.shape)}: no class in it"
    )
