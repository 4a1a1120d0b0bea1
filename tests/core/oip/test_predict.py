"""/predict: how features become a request, and what is read from a model's answer."""

from __future__ import annotations

from array import array
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.oip.predict import CODES, predict_request
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.core.values.tensors import DTYPES, Tensor, pack_bytes

INTEGERS = [dtype for dtype in CODES if "INT" in dtype]


def model(
    shape: tuple[int, ...] = (-1, -1), dtype: str = "FP32", most: int = 8, **parameters: str
) -> ModelInfo:
    """A model whose first input has this shape, batch dimension included where `most` is not 0."""
    signature = Signature((TensorSpec("x", dtype, shape),), (), most)
    return ModelInfo("m", "1", "", signature)


def told(**parameters: str) -> ModelInfo:
    """A model whose config has these parameters."""
    return replace(model(), parameters=tuple(sorted(parameters.items())))


def tensor(name: str, dtype: str, *numbers: float) -> Tensor:
    data = array(CODES[dtype], numbers if "FP" in dtype else [int(n) for n in numbers]).tobytes()
    return Tensor(name, dtype, (1, len(numbers)), data)


def texts(name: str, *elements: bytes) -> Tensor:
    return Tensor(name, "BYTES", (1, len(elements)), pack_bytes(elements))


def answer(*outputs: Tensor) -> InferResponse:
    return InferResponse("m", "1", outputs)


def refused(info: ModelInfo, features: list[float] | None, text: str | None = None) -> HubError:
    with pytest.raises(HubError) as refusal:
        predict_request(info, "", features, text)
    return refusal.value


@pytest.mark.parametrize(
    ("spec", "most", "count", "shape"),
    [
        ((-1, -1), 8, 5, (1, 5)),
        ((-1, 4), 8, 4, (1, 4)),
        ((-1, 2, 3), 8, 6, (1, 2, 3)),
        ((-1, 2, -1), 8, 6, (1, 2, 3)),
        ((-1, -1, 3), 8, 6, (1, 2, 3)),
        ((-1, -1, -1), 8, 6, (1, 1, 6)),
        ((-1,), 8, 1, (1,)),
        ((4,), 0, 4, (4,)),
        ((-1,), 0, 7, (7,)),
        ((2, -1), 0, 6, (2, 3)),
        ((), 0, 1, ()),
    ],
)
def test_features_are_one_row_of_the_first_input(
    spec: tuple[int, ...], most: int, count: int, shape: tuple[int, ...]
) -> None:
    request = predict_request(model(spec, most=most), "2", [float(n) for n in range(count)], None)
    [made] = request.inputs
    assert (request.model, request.version, made.name, made.dtype, made.shape) == (
        "m",
        "2",
        "x",
        "FP32",
        shape,
    )
    assert made.data == array("f", range(count)).tobytes()


@pytest.mark.parametrize(
    ("spec", "most", "count", "words"),
    [
        ((-1, 4), 8, 3, "takes 4 features, got 3"),
        ((-1, 2, 2), 8, 5, "takes 4 features, got 5"),
        ((-1, 3, -1), 8, 4, "takes a multiple of 3 features, got 4"),
        ((-1, 0, -1), 8, 4, "takes a multiple of 0 features, got 4"),
        ((4,), 0, 5, "takes 4 features, got 5"),
    ],
)
def test_another_number_of_features_is_refused(
    spec: tuple[int, ...], most: int, count: int, words: str
) -> None:
    error = refused(model(spec, most=most), [0.0] * count)
    assert (error.kind, words in error.detail) == (Kind.BAD_INPUT, True), error.detail


@pytest.mark.parametrize("dtype", CODES)
def test_numbers_become_the_model_s_dtype(dtype: str) -> None:
    [made] = predict_request(model(dtype=dtype), "", [0.0, 1.0, 100.0], None).inputs
    assert made == tensor("x", dtype, 0, 1, 100)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_whole_and_in_range(dtype: str) -> None:
    bits, signed = DTYPES[dtype] * 8, dtype.startswith("INT")
    least = -float(2 ** (bits - 1)) if signed else 0.0
    beyond = float(2 ** (bits - 1)) if signed else float(2**bits)
    [made] = predict_request(model(dtype=dtype), "", [least], None).inputs
    assert array(CODES[dtype], bytes(made.data))[0] == least
    for wrong in (beyond, least - 1.0 if bits < 64 else least * 2 - 1, 1.5, nan, inf, -inf):
        error = refused(model(dtype=dtype), [0.0, wrong])
        assert (error.kind, dtype in error.detail) == (Kind.BAD_INPUT, True), error.detail


@pytest.mark.parametrize(
    ("dtype", "features"),
    [
        ("FP32", [1.0, nan]),
        ("FP32", [inf, -inf]),
        ("FP32", [1e39]),
        ("FP32", [-3.5e38]),
        ("FP64", [nan]),
        ("FP64", [0.0, inf]),
    ],
)
def test_numbers_that_are_not_finite_are_refused(dtype: str, features: list[float]) -> None:
    error = refused(model(dtype=dtype), features)
    assert (error.kind, f"range of {dtype}" in error.detail) == (Kind.BAD_INPUT, True), error.detail


@pytest.mark.parametrize(
    ("dtype", "most"), [("FP32", 3.4028234663852886e38), ("FP64", 1.7976931348623157e308)]
)
def test_large_numbers_whose_sum_is_infinite_are_taken(dtype: str, most: float) -> None:
    [made] = predict_request(model(dtype=dtype), "", [most] * 3, None).inputs
    assert made == tensor("x", dtype, most, most, most)


@given(st.lists(st.floats(width=64), min_size=1, max_size=4), st.sampled_from([*CODES, "FP16", "BOOL"]))
def test_any_features_become_a_tensor_or_a_sentence(features: list[float], dtype: str) -> None:
    def shape_or_kind() -> object:
        try:
            return predict_request(model(dtype=dtype), "", features, None).inputs[0].shape
        except HubError as error:
            return error.kind

    assert shape_or_kind() in ((1, len(features)), Kind.BAD_INPUT, Kind.UNSUPPORTED)


def test_a_text_is_one_element() -> None:
    [made] = predict_request(model((-1, 1), "BYTES"), "", None, "größer").inputs
    assert (made.dtype, made.shape, made.data) == ("BYTES", (1, 1), pack_bytes(["größer".encode()]))
    assert "takes 2 texts, got 1" in refused(model((-1, 2), "BYTES"), None, "one").detail


def test_the_other_kind_of_input_is_refused() -> None:
    assert refused(model(), None, "text").detail == "model 'm' takes numbers: expected 'features', got 'text'"
    error = refused(model((-1, 1), "BYTES"), [1.0])
    assert error.detail == "model 'm' takes text: expected 'text', got 'features'"


@pytest.mark.parametrize("dtype", ["FP16", "BF16", "BOOL"])
def test_a_dtype_without_numbers_points_to_v2(dtype: str) -> None:
    error = refused(model(dtype=dtype), [1.0])
    assert error.kind is Kind.UNSUPPORTED
    assert "/v2" in error.detail


def test_a_model_without_input_or_with_several_cannot_be_asked() -> None:
    x, y = TensorSpec("x", "FP32", (-1, 4)), TensorSpec("y", "FP32", (-1, 4))
    for inputs, words in (((), "it has no input"), ((x, y), "more than one input, ['x', 'y']")):
        error = refused(ModelInfo("m", "1", "", Signature(inputs, ())), [1.0])
        assert (error.kind, words in error.detail, "/v2" in error.detail) == (Kind.UNSUPPORTED, True, True)
    optional = replace(y, optional=True)
    [made] = predict_request(
        ModelInfo("m", "1", "", Signature((x, optional), ())), "", [1.0] * 4, None
    ).inputs
    assert made.name == "x"


def test_a_model_without_a_class_is_refused_before_it_runs() -> None:
    outputs = (TensorSpec("variable", "FP32", (-1, 1)),)
    error = refused(ModelInfo("m", "1", "", Signature((TensorSpec("x", "FP32", (-1, 4)),), outputs)), [1.0])
    assert (error.kind, error.detail) == (
        Kind.UNSUPPORTED,
        "/predict cannot serve model 'm': no output holds a score for each of two or more classes: 'variable' FP32 "
        "[-1, 1]. It needs one input of numbers or text, and an output with a score for each of two or more classes or "
        "outputs that the config's predict_class and predict_confidence name; use /v2/models/m/infer",
    )
