"""/predict: the class and the confidence that are read from a model's answer, by the form and the names of its outputs."""

from __future__ import annotations

import struct
from array import array
from math import exp, inf, nan, prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencehub.core.oip.predict import CODES
from inferencehub.core.oip.prediction import Prediction, read_prediction
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferResponse
from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.core.values.tensors import DTYPES, Tensor, pack_bytes


def told(*outputs: Tensor, **parameters: str) -> ModelInfo:
    """A model whose config has these parameters, and which declares outputs like these; none if it declares none."""
    specs = tuple([TensorSpec(t.name, t.dtype, (-1, *t.shape[1:]) if t.shape else ()) for t in outputs])
    signature = Signature((TensorSpec("x", "FP32", (-1, -1)),), specs)
    return ModelInfo("m", "1", "", signature, parameters=tuple(sorted(parameters.items())))


def tensor(name: str, dtype: str, *numbers: float, shape: tuple[int, ...] = ()) -> Tensor:
    data = array(CODES[dtype], numbers if "FP" in dtype else [int(n) for n in numbers]).tobytes()
    return Tensor(name, dtype, shape or (1, len(numbers)), data)


def label(number: int) -> Tensor:
    """A label as skl2onnx writes it."""
    return tensor("label", "INT64", number, shape=(1,))


def probabilities(*numbers: float) -> Tensor:
    return tensor("probabilities", "FP64", *numbers)


def texts(name: str, *elements: bytes) -> Tensor:
    return Tensor(name, "BYTES", (1, len(elements)), pack_bytes(elements))


def read(*outputs: Tensor, **parameters: str) -> Prediction:
    """The prediction of a model that declares its outputs; it is the same where the model declares none."""
    response = InferResponse("m", "1", outputs)
    prediction = read_prediction(told(*outputs, **parameters), response)
    assert read_prediction(told(**parameters), response) == prediction
    return prediction


def failure(*outputs: Tensor, **parameters: str) -> HubError:
    """The error of a model that declares its outputs."""
    with pytest.raises(HubError) as caught:
        read_prediction(told(*outputs, **parameters), InferResponse("m", "1", outputs))
    return caught.value


def softmax(column: int, *scores: float) -> float:
    return exp(scores[column]) / sum(map(exp, scores))


# --- labels beside scores ---


@pytest.mark.parametrize("outputs", [(label(1), probabilities(0.2, 0.7, 0.1))])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"predict_class": "label"},
        {"predict_confidence": "probabilities"},
        {"predict_class": "label", "predict_confidence": "probabilities"},
        {"predict_classes": "0,1,2"},
    ],
)
def test_a_label_has_the_confidence_of_its_own_column(
    outputs: tuple[Tensor, ...], parameters: dict[str, str]
) -> None:
    assert read(*outputs, **parameters) == Prediction(1, 0.7)
    assert read(*reversed(outputs), **parameters) == Prediction(1, 0.7)


@pytest.mark.parametrize("name", ["label", "output_label", "class", "y", "output_0"])
def test_a_label_is_recognised_by_its_form(name: str) -> None:
    scores = tensor("output_1", "FP32", 0.25, 0.75)
    for shape in ((1,), (1, 1)):
        assert read(tensor(name, "INT32", 1, shape=shape), scores) == Prediction(1, 0.75)


@pytest.mark.parametrize(
    ("number", "classes"), [(30, "10, 20, 30"), (-1, "-1,0,1"), (3, "1,2,3"), (1, "3,2,1")]
)
def test_a_label_that_is_no_number_of_a_column_is_found_in_the_listed_classes(
    number: int, classes: str
) -> None:
    shares = [0.3, 0.5, 0.2]  # the label's does not have to be the highest
    column = [int(word) for word in classes.split(",")].index(number)
    assert read(label(number), probabilities(*shares), predict_classes=classes) == Prediction(
        number, shares[column]
    )


def test_a_label_outside_the_columns_is_that_of_the_highest_score() -> None:
    assert read(label(30), probabilities(0.1, 0.2, 0.7)) == Prediction(30, 0.7)
    assert read(label(-1), probabilities(0.9, 0.1)) == Prediction(-1, 0.9)


def test_a_number_that_nothing_calls_a_class_must_be_the_column_of_the_highest_score() -> None:
    scores = tensor("logits", "FP32", 1.0, 3.0)
    assert read(tensor("n", "INT64", 1), scores).class_id == 1
    for number in (0, 7, -1):
        assert failure(tensor("n", "INT64", number), scores).kind is Kind.UNSUPPORTED


def test_a_label_that_may_be_the_number_of_another_column_is_refused() -> None:
    error = failure(label(1), probabilities(0.9, 0.1))
    assert error.kind is Kind.UNSUPPORTED
    assert "its output 'label' says class 1" in error.detail
    assert "predict_classes" in error.detail
    # Where the columns are known, it is answered, though another score is higher.
    assert read(label(1), probabilities(0.9, 0.1), predict_classes="0,1") == Prediction(1, 0.1)
    assert read(label(1), probabilities(0.9, 0.1), predict_classes="1,2") == Prediction(1, 0.9)


def test_of_equal_scores_the_label_chooses() -> None:
    assert read(label(1), probabilities(0.5, 0.5)) == Prediction(1, 0.5)


def test_a_text_is_the_class_s_name() -> None:
    word, shares = texts("label", b"virginica"), probabilities(0.1, 0.2, 0.7)
    expected = Prediction(2, 0.7, "virginica")
    assert read(word, shares) == expected
    assert read(word, shares, predict_class="label", predict_confidence="probabilities") == expected
    assert read(word, shares, predict_label="label") == expected
    # A vote may differ from the probabilities.
    listed = read(word, shares, predict_classes="setosa,virginica,other")
    assert listed == Prediction(1, 0.2, "virginica")


def test_a_text_that_is_the_number_of_another_column_is_refused() -> None:
    shares = probabilities(0.1, 0.2, 0.7)
    assert read(texts("label", b"2"), shares) == Prediction(2, 0.7, "2")
    assert read(texts("label", b"7"), shares) == Prediction(2, 0.7, "7")
    assert read(texts("label", b"1"), shares, predict_classes="0,1,2") == Prediction(1, 0.2, "1")
    error = failure(texts("label", b"1"), shares)
    assert (error.kind, "says class 1, which is not the column" in error.detail) == (Kind.UNSUPPORTED, True)


def test_a_label_that_is_not_listed_is_the_model_s_fault() -> None:
    for outputs in ((label(4), probabilities(0.9, 0.1)), (texts("label", b"x"), probabilities(0.9, 0.1))):
        error = failure(*outputs, predict_classes="1,2")
        assert (error.kind, "lists 2 classes: 1, 2" in error.detail) == (Kind.MODEL_FAILED, True)


def test_a_text_without_scores_is_the_class_at_its_place_in_the_list() -> None:
    parameters = {"predict_class": "word", "predict_classes": "no, yes"}
    assert read(texts("word", b"yes"), **parameters) == Prediction(1, 1.0, "yes")
    error = failure(texts("word", b"perhaps"), **parameters)
    assert (error.kind, error.detail) == (
        Kind.MODEL_FAILED,
        "model 'm' gave the class 'perhaps', its predict_classes lists 2 classes: no, yes",
    )
    two = Tensor("word", "BYTES", (2,), pack_bytes([b"no", b"yes"]))
    assert failure(two, **parameters).kind is Kind.BAD_INPUT


def test_scores_that_are_no_probabilities_must_agree_with_the_label() -> None:
    # A binary SVC of scikit-learn has the opposite sign in its scores.
    scores = tensor("probabilities", "FP32", -1.25, 1.25)
    for word, number in ((label(0), "0,1"), (texts("label", b"no"), "no,yes")):
        error = failure(word, scores, predict_classes=number)
        assert error.kind is Kind.UNSUPPORTED
        assert (
            "says the class of column 0, but 'probabilities', which are no probabilities, are higher"
            in error.detail
        )
    agreed = read(label(1), scores, predict_classes="0,1")
    assert agreed == Prediction(1, pytest.approx(softmax(1, -1.25, 1.25)))  # type: ignore[arg-type]


def test_one_number_for_two_listed_classes_is_refused() -> None:
    # As RidgeClassifier has it: a decision value, though it is called a probability.
    info = told(label(1), probabilities(0.3, 0.7), predict_classes="0,1")
    with pytest.raises(HubError) as caught:
        read_prediction(info, InferResponse("m", "1", (label(1), probabilities(0.7))))
    assert caught.value.kind is Kind.UNSUPPORTED
    assert "gave a single number for 2 classes" in caught.value.detail


# --- one number beside a label ---


def test_class_confidence_and_label_come_from_the_outputs_that_the_config_names() -> None:
    outputs = texts("word", b"gut"), tensor("sure", "FP32", 0.75), tensor("class", "INT64", 3)
    assert read(*outputs, **NAMED) == Prediction(3, 0.75, "gut")
    assert read(*outputs, predict_class="class") == Prediction(3, 1.0)
    assert read(tensor("class", "FP32", 2.0), predict_class="class") == Prediction(2, 1.0)


def test_a_number_called_confidence_is_that_of_the_class() -> None:
    outputs = tensor("class_id", "INT32", 7), tensor("confidence", "FP32", 0.25)
    assert read(*outputs) == Prediction(7, 0.25)


def test_a_number_called_probability_is_that_of_the_second_of_two_classes() -> None:
    assert read(label(1), probabilities(0.75)) == Prediction(1, 0.75)
    assert read(label(0), probabilities(0.25)) == Prediction(0, 0.75)
    for number, share in ((0, 0.75), (1, 0.25), (2, 0.75), (1, 1.5), (0, -1.0)):
        assert failure(label(number), probabilities(share)).kind is Kind.UNSUPPORTED


# --- scores alone ---


@pytest.mark.parametrize("scores", [(0.1, 0.7, 0.2), (0.0, 1.0, 0.0)])
def test_a_distribution_is_taken_as_it_is(scores: tuple[float, ...]) -> None:
    assert read(tensor("scores", "FP64", *scores)) == Prediction(1, scores[1])


def test_other_scores_go_through_a_softmax() -> None:
    found = read(tensor("scores", "FP64", 1.0, 3.0, -2.0))
    assert found.class_id == 1
    assert found.confidence == pytest.approx(softmax(1, 1.0, 3.0, -2.0))
    no_share = read(tensor("scores", "FP64", 1.5, -0.5))
    assert no_share.confidence == pytest.approx(1 / (1 + exp(-2.0)))
    huge = read(tensor("scores", "FP64", -1e308, 1e308))
    assert (huge.class_id, huge.confidence) == (1, 1.0)


def test_the_name_of_scores_says_what_they_are() -> None:
    # Logits that add up to 1 by chance, and independent probabilities, of which each is one.
    assert read(tensor("logits", "FP64", 0.25, 0.75)).confidence == pytest.approx(softmax(1, 0.25, 0.75))
    assert read(tensor("probabilities", "FP64", 0.9, 0.8, 0.1)) == Prediction(0, 0.9)


def test_scores_may_have_half_precision() -> None:
    half = Tensor("scores", "FP16", (1, 2), struct.pack("<2e", 0.25, 0.75))
    assert read(half) == Prediction(1, 0.75)


def test_of_equal_scores_the_first_wins_and_labels_join_an_argmax() -> None:
    outputs = tensor("scores", "FP32", 0.5, 0.5), texts("word", b"\xff")
    assert read(*outputs, predict_label="word") == Prediction(0, 0.5, "\ufffd")


# --- answers that hold no class ---


@pytest.mark.parametrize("shape", [(2, 2), (4, 1), (1, 2, 2), (2, 2, 1)])
def test_several_rows_are_refused(shape: tuple[int, ...]) -> None:
    declared = told(tensor("scores", "FP32", *range(4)))
    answer = InferResponse("m", "1", (tensor("scores", "FP32", *range(4), shape=shape),))
    with pytest.raises(HubError) as caught:
        read_prediction(declared, answer)
    assert caught.value.kind is Kind.BAD_INPUT
    assert f"shape {list(shape)}, expected the class of one row" in caught.value.detail


def test_several_labels_are_refused() -> None:
    two = tensor("label", "INT64", 1, 1, shape=(2,)), tensor("probabilities", "FP32", 0.5, 0.5)
    for parameters in ({}, {"predict_class": "label"}):
        error = failure(*two, **parameters)
        assert error.kind is Kind.BAD_INPUT
    words = Tensor("label", "BYTES", (2,), pack_bytes([b"a", b"b"]))
    assert failure(words, two[1]).kind is Kind.BAD_INPUT


NAMED = {"predict_class": "class", "predict_confidence": "sure", "predict_label": "word"}
ONE, SURE, WORD = tensor("class", "INT64", 1), tensor("sure", "FP32", 0.5), texts("word", b"a")


@pytest.mark.parametrize(
    ("parameters", "outputs"),
    [
        ({}, (tensor("scores", "FP32", 0.1, nan),)),
        ({}, (tensor("scores", "FP32", inf, 1.0),)),
        (NAMED, (tensor("class", "FP32", nan), SURE, WORD)),
        (NAMED, (tensor("class", "FP32", 0.5), SURE, WORD)),
        (NAMED, (tensor("class", "INT64", 2**31), SURE, WORD)),
        (NAMED, (tensor("class", "FP32", inf), SURE, WORD)),
        (NAMED, (ONE, tensor("sure", "FP32", nan), WORD)),
    ],
)
def test_an_answer_that_holds_no_class_is_the_model_s_fault(
    parameters: dict[str, str], outputs: tuple[Tensor, ...]
) -> None:
    assert failure(*outputs, **parameters).kind is Kind.MODEL_FAILED


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_an_output_that_is_missing_or_empty_is_the_model_s_fault(missing: int) -> None:
    outputs = [ONE, SURE, WORD]
    info = told(*outputs, **NAMED)
    empty = Tensor(outputs[missing].name, outputs[missing].dtype, (1, 0), b"")
    for changed in ([], [empty]):
        answer = InferResponse("m", "1", (*outputs[:missing], *changed, *outputs[missing + 1 :]))
        with pytest.raises(HubError) as caught:
            read_prediction(info, answer)
        assert caught.value.kind is Kind.MODEL_FAILED


def test_too_many_scores_point_to_v2() -> None:
    scores = Tensor("scores", "FP16", (1, 2**17 + 1), bytes(2 * (2**17 + 1)))
    error = failure(scores)
    assert (error.kind, "expected at most 131072; use /v2" in error.detail) == (Kind.UNSUPPORTED, True)


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
@given(
    st.sampled_from([{}, NAMED, {"predict_classes": "0,1"}]),
    st.booleans(),
    any_output("class"),
    any_output("sure"),
    any_output("word"),
)
def test_any_answer_is_a_prediction_or_a_sentence(
    parameters: dict[str, str], declares: bool, first: Tensor, second: Tensor, third: Tensor
) -> None:
    outputs = first, second, third
    info = told(*outputs, **parameters) if declares else told(**parameters)

    def found_or_kind() -> Prediction | Kind:
        if info.no_predict:
            return Kind.UNSUPPORTED  # the request is refused before it runs
        try:
            return read_prediction(info, InferResponse("m", "1", outputs))
        except HubError as error:
            return error.kind

    found = found_or_kind()
    if isinstance(found, Kind):
        assert found in (Kind.MODEL_FAILED, Kind.UNSUPPORTED, Kind.BAD_INPUT)
    else:
        assert -(2**31) < found.class_id < 2**31
        assert -inf < found.confidence < inf
