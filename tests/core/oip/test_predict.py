"""/predict: how features become a request, and what is read from a model's answer."""

from __future__ import annotations

from array import array
from dataclasses import replace
from math import exp, inf, nan, prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencehub.core.oip.predict import CODES, Prediction, predict_request, read_prediction
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


def test_a_model_without_input_cannot_be_asked() -> None:
    info = ModelInfo("m", "1", "", Signature((), ()))
    assert refused(info, [1.0]).kind is Kind.UNSUPPORTED


def test_class_confidence_and_label_come_from_the_outputs_that_the_config_names() -> None:
    info = told(predict_class="class", predict_confidence="sure", predict_label="word")
    outputs = texts("word", b"gut", b"x"), tensor("sure", "FP32", 0.75), tensor("class", "INT64", 3)
    assert read_prediction(info, answer(*outputs)) == Prediction(3, 0.75, "gut")
    assert read_prediction(told(predict_class="class"), answer(*outputs)) == Prediction(3, 1.0, "")
    float_class = answer(tensor("class", "FP32", 2.0))
    assert read_prediction(told(predict_class="class"), float_class).class_id == 2


@pytest.mark.parametrize("scores", [(0.1, 0.7, 0.2), (0.0, 1.0, 0.0)])
def test_a_distribution_is_taken_as_it_is(scores: tuple[float, ...]) -> None:
    found = read_prediction(model(), answer(tensor("scores", "FP64", *scores)))
    assert found == Prediction(1, scores[1])


def test_other_scores_go_through_a_softmax() -> None:
    found = read_prediction(model(), answer(tensor("scores", "FP64", 1.0, 3.0, -2.0)))
    expected = exp(3.0) / (exp(1.0) + exp(3.0) + exp(-2.0))
    assert found.class_id == 1
    assert found.confidence == pytest.approx(expected)
    no_share = read_prediction(model(), answer(tensor("scores", "FP64", 1.5, -0.5)))
    assert no_share.confidence == pytest.approx(1 / (1 + exp(-2.0)))
    huge = read_prediction(model(), answer(tensor("scores", "FP64", -1e308, 1e308)))
    assert (huge.class_id, huge.confidence) == (1, 1.0)
    whole = read_prediction(model(), answer(tensor("votes", "UINT8", 0, 0, 9)))
    assert whole.class_id == 2
    assert whole.confidence == pytest.approx(1.0, abs=1e-3)


def test_of_equal_scores_the_first_wins_and_labels_join_an_argmax() -> None:
    outputs = tensor("scores", "FP32", 0.5, 0.5), texts("word", b"\xff")
    assert read_prediction(told(predict_label="word"), answer(*outputs)) == Prediction(0, 0.5, "\ufffd")


NAMED = {"predict_class": "class", "predict_confidence": "sure", "predict_label": "word"}


@pytest.mark.parametrize(
    ("parameters", "outputs"),
    [
        ({}, ()),
        ({}, (tensor("scores", "FP32"),)),
        ({}, (tensor("scores", "FP32", 0.1, nan),)),
        ({}, (tensor("scores", "FP32", inf),)),
        ({}, (texts("scores", b"a"),)),
        ({}, (Tensor("scores", "FP16", (1, 1), b"\0\0"),)),
        (NAMED, (tensor("class", "INT64", 1), tensor("sure", "FP32", 0.5))),
        (NAMED, (tensor("sure", "FP32", 0.5), texts("word", b"a"))),
        (NAMED, (tensor("class", "INT64"), tensor("sure", "FP32", 0.5), texts("word", b"a"))),
        (NAMED, (tensor("class", "FP32", nan), tensor("sure", "FP32", 0.5), texts("word", b"a"))),
        (NAMED, (tensor("class", "INT64", 2**31), tensor("sure", "FP32", 0.5), texts("word", b"a"))),
        (NAMED, (tensor("class", "FP32", inf), tensor("sure", "FP32", 0.5), texts("word", b"a"))),
        (NAMED, (tensor("class", "INT64", 1), tensor("sure", "FP32", nan), texts("word", b"a"))),
        (NAMED, (tensor("class", "INT64", 1), tensor("sure", "FP32", 0.5), texts("word"))),
        (NAMED, (tensor("class", "INT64", 1), tensor("sure", "FP32", 0.5), tensor("word", "UINT16", 1))),
    ],
)
def test_an_answer_that_holds_no_class_is_the_model_s_fault(
    parameters: dict[str, str], outputs: tuple[Tensor, ...]
) -> None:
    with pytest.raises(HubError) as failure:
        read_prediction(told(**parameters), answer(*outputs))
    assert failure.value.kind is Kind.MODEL_FAILED


@st.composite
def any_output(draw: st.DrawFn, name: str) -> Tensor:
    dtype, shape = (
        draw(st.sampled_from(sorted(DTYPES))),
        draw(st.lists(st.integers(0, 3), max_size=2).map(tuple)),
    )
    size = prod(shape) * DTYPES[dtype]
    if dtype == "BYTES":
        return Tensor(
            name, dtype, shape, pack_bytes([draw(st.binary(max_size=3)) for _ in range(prod(shape))])
        )
    return Tensor(name, dtype, shape, draw(st.binary(min_size=size, max_size=size)))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([{}, NAMED]), any_output("class"), any_output("sure"), any_output("word"))
def test_any_answer_is_a_prediction_or_a_sentence(
    parameters: dict[str, str], first: Tensor, second: Tensor, third: Tensor
) -> None:
    def found_or_kind() -> Prediction | Kind:
        try:
            return read_prediction(told(**parameters), answer(first, second, third))
        except HubError as error:
            return error.kind

    found = found_or_kind()
    if isinstance(found, Kind):
        assert found is Kind.MODEL_FAILED
    else:
        assert -(2**31) <= found.class_id < 2**31
        assert -inf < found.confidence < inf
