"""The raw binary request: its shape comes from the signature. Triton 2.51 gives the same shapes and refusals."""

from __future__ import annotations

import pytest

from inferencehub.core.oip.raw_request import raw_request
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.core.values.tensors import Tensor


def model(dtype: str, shape: tuple[int, ...], most: int, *others: TensorSpec) -> ModelInfo:
    """A model with an input `x`."""
    return ModelInfo("m", "1", "", Signature((TensorSpec("x", dtype, shape), *others), (), most))


@pytest.mark.parametrize(
    ("dtype", "shape", "most", "data", "made"),
    [
        ("FP32", (-1, 3), 8, bytes(12), (1, 3)),
        ("FP32", (-1, -1), 8, bytes(12), (1, 3)),
        ("FP32", (-1,), 0, bytes(12), (3,)),
        ("FP32", (2, -1, 3), 0, bytes(48), (2, 2, 3)),
        ("FP32", (-1, -1), 8, b"", (1, 0)),
        ("FP32", (), 0, bytes(4), ()),
        ("FP64", (-1, 1), 8, bytes(8), (1, 1)),
        ("BF16", (3,), 0, bytes(6), (3,)),
        ("BOOL", (-1,), 0, b"\1", (1,)),
    ],
)
def test_the_shape_of_the_body(
    dtype: str, shape: tuple[int, ...], most: int, data: bytes, made: tuple[int, ...]
) -> None:
    optional = TensorSpec("o", "FP32", (1,), optional=True)
    for others in ((), (optional,)):
        request = raw_request(model(dtype, shape, most, *others), "7", data)
        assert (request.model, request.version) == ("m", "7")
        assert request.inputs == (Tensor("x", dtype, made, data),)


@pytest.mark.parametrize(("shape", "most", "made"), [((-1, 1), 8, (1, 1)), ((-1,), 0, (1,)), ((), 0, ())])
def test_a_body_of_text_is_one_element(shape: tuple[int, ...], most: int, made: tuple[int, ...]) -> None:
    request = raw_request(model("BYTES", shape, most), "", memoryview(b"hello"))
    assert request.inputs == (Tensor("x", "BYTES", made, b"\5\0\0\0hello"),)


@pytest.mark.parametrize(
    ("info", "data", "sentence"),
    [
        (model("FP32", (3,), 0), bytes(11), "'x' takes 12 bytes, got 11"),
        (model("FP32", (-1, 3), 8), bytes(24), "'x' takes 12 bytes, got 24"),
        (model("FP32", (-1,), 0), bytes(11), "'x' takes a multiple of 4 bytes, got 11"),
        (model("FP32", (-1, -1), 0), bytes(12), "at most one variable dimension"),
        (model("FP32", (-1, 0), 0), bytes(4), "'x' takes a multiple of 0 bytes, got 4"),
        (model("BYTES", (2,), 0), b"hello", "expected one element"),
        (model("FP32", (1,), 0, TensorSpec("z", "FP32", (1,))), bytes(4), "has 2 inputs, expected one"),
        (ModelInfo("m", "1", "", Signature((), ())), b"", "has 0 inputs, expected one"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(info: ModelInfo, data: bytes, sentence: str) -> None:
    with pytest.raises(HubError, match=sentence) as caught:
        raw_request(info, "", data)
    assert caught.value.kind is Kind.BAD_INPUT
