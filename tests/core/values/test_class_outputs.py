"""Which outputs hold the class, and why a model has none."""

from __future__ import annotations

import pytest

from inferencehub.core.values.class_outputs import ClassOutputs, find_class
from inferencehub.core.values.signature import TensorSpec

LABEL, PROBABILITIES = ("label", "INT64", (-1,)), ("probabilities", "FP32", (-1, 3))
WORD = ("label", "BYTES", (-1,))
Spec = tuple[str, str, tuple[int, ...]]


def found(*outputs: Spec, batches: bool = False, **parameters: str) -> ClassOutputs:
    specs = [TensorSpec(*output) for output in outputs]
    return find_class(specs, batches, lambda name: parameters.get(name, ""))


def roles(*outputs: Spec, batches: bool = False, **parameters: str) -> tuple[str, str, str]:
    """The outputs with number, text and scores."""
    where = found(*outputs, batches=batches, **parameters)
    assert not where.refusal
    return where.number, where.text, where.scores


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ((LABEL, PROBABILITIES), ("label", "", "probabilities")),
        ((PROBABILITIES, WORD), ("", "label", "probabilities")),
        ((("output_label", "INT32", (-1, 1)), ("output_probability", "FP64", (-1, 2))),
         ("output_label", "", "output_probability")),
        ((("label", "INT64", (1,)), PROBABILITIES), ("label", "", "probabilities")),  # LightGBM
        ((("a", "INT64", (-1,)), ("b", "FP32", (-1, -1))), ("a", "", "b")),
        ((("logits", "FP32", (-1, -1)),), ("", "", "logits")),
        ((("495", "FP16", (1, 1000)),), ("", "", "495")),
        ((("softmaxout_1", "FP32", (-1, 1000, 1, 1)),), ("", "", "softmaxout_1")),
        ((("scores", "FP32", (8,)),), ("", "", "scores")),
        ((("unknown", "FP32", ()),), ("", "", "unknown")),
        # Of several outputs of the same form, names choose; others are left alone.
        ((LABEL, ("decision", "FP32", (-1, 3)), PROBABILITIES), ("label", "", "probabilities")),
        ((LABEL, ("leaf", "INT64", (-1, 1)), PROBABILITIES), ("label", "", "probabilities")),
        ((LABEL, ("decision_path", "BYTES", (-1, 1)), PROBABILITIES), ("label", "", "probabilities")),
        ((PROBABILITIES, ("embedding", "FP32", (-1, 64))), ("", "", "probabilities")),
        ((("logits", "FP32", (-1, 2)), ("hidden_states", "FP32", (-1, -1, 768))), ("", "", "logits")),
        ((("class_id", "INT32", (-1,)), ("name", "BYTES", (-1,)), PROBABILITIES),
         ("class_id", "", "probabilities")),
        ((("class_id", "INT32", (-1,)), ("label", "BYTES", (-1,)), PROBABILITIES),
         ("class_id", "label", "probabilities")),
        ((("class_id", "INT32", (1,)), ("confidence", "FP32", (1,))), ("class_id", "", "confidence")),
    ],
)  # fmt: skip
def test_outputs_are_recognised(outputs: tuple[Spec, ...], expected: tuple[str, str, str]) -> None:
    assert roles(*outputs) == expected
    batched = [(name, dtype, (-1, *shape[1:])) for name, dtype, shape in outputs if shape]
    if len(batched) == len(outputs) and expected[2] != "scores":
        assert roles(*batched, batches=True) == expected


@pytest.mark.parametrize(
    "output",
    [
        ("variable", "FP32", (-1, 1)),
        ("variable", "FP32", (-1, 2)),
        ("y", "FP32", (-1, 1)),
        ("y", "FP32", (-1,)),
        ("y", "FP32", (1,)),
        ("y", "FP64", (1, 1)),
        ("probability", "FP32", (-1, 1)),
        ("sentence_embedding", "FP32", (-1, 384)),
        ("text_embeds", "FP32", (-1, 512)),
        ("pooler_output", "FP32", (-1, 768)),
        ("features", "FP32", (-1, 2048)),
        ("last_hidden_state", "FP32", (-1, -1, 384)),
        ("logits", "FP32", (-1, -1, 9)),
        ("logits", "FP32", (-1, 128, 9)),
        ("output", "FP32", (-1, 21, -1, -1)),
        ("output", "FP32", (1, 1, -1)),
        ("output", "FP32", (4, 3)),
        ("boxes", "FP32", (-1, 4)),
        ("ids", "INT64", (-1, -1)),
        ("label", "INT64", (-1,)),
        ("label", "INT64", (-1, 3)),
        ("text", "BYTES", (-1, 1)),
        ("flags", "BOOL", (-1, 3)),
        ("scores", "BF16", (-1, 3)),
        ("scores", "FP32", (-1, 0)),
    ],
)
def test_other_outputs_alone_hold_no_class(output: Spec) -> None:
    refusal = found(output).refusal
    assert f"'{output[0]}' {output[1]} {list(output[2])}" in refusal


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ((("label", "INT64", (-1, 3)), PROBABILITIES), "'label' INT64 [-1, 3] holds several labels a row"),
        ((("label", "INT64", (-1, 3)), ("probabilities", "FP32", (3, -1, 2))), "several labels a row"),
        ((LABEL, ("i0", "FP32", (-1,)), ("i1", "FP32", (-1,))), "beside the label 'label' INT64 [-1] no output"),
        ((LABEL, ("scores", "FP32", (-1, 1))), "beside the label 'label' INT64 [-1] no output"),
        ((("a", "FP32", (-1, 3)), ("b", "FP32", (-1, 3))), "several outputs of the same form: 'a' FP32 [-1, 3], 'b'"),
        ((("boxes", "FP32", (-1, 4)), ("labels", "INT64", (-1,)), ("scores", "FP32", (-1,))), "beside the label"),
        ((WORD,), "beside the label 'label' BYTES [-1] no output"),
        *[
            (beside, "'quantized' " + dtype + " [-1, 3] holds integers, whose scale is not known")
            for dtype in ("UINT8", "INT8", "UINT16", "INT16")
            for scores in [("quantized", dtype, (-1, 3))]
            for beside in [(scores,), (LABEL, scores), (WORD, scores), (scores, ("variance", "FP32", (-1, 1)))]
        ],
        ((("votes", "INT32", (-1, 3)),), "no output holds a score for each of two or more classes"),
        ((("votes", "UINT64", (-1, 3)), LABEL), "beside the label 'label' INT64 [-1] no output"),
        (tuple((f"y{n}", "FP32", (-1, 1)) for n in range(40)), "'y4' FP32 [-1, 1], …"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused(outputs: tuple[Spec, ...], words: str) -> None:
    assert words in found(*outputs).refusal


def test_the_config_decides_what_the_form_does_not() -> None:
    assert roles(LABEL, predict_class="label") == ("label", "", "")
    vector = ("embedding", "FP32", (-1, 3))
    assert roles(LABEL, vector, predict_confidence="embedding") == ("label", "", "embedding")
    assert roles(("y", "FP32", (-1, 5)), ("z", "FP32", (-1, 5)), predict_confidence="y") == ("", "", "y")
    assert roles(WORD, predict_class="label", predict_classes="a,b") == ("", "label", "")
    assert roles(LABEL, ("codes", "INT8", (-1, 5)), predict_class="label") == ("label", "", "")
    assert roles(WORD, PROBABILITIES, predict_class="label") == ("", "label", "probabilities")
    a, b = ("a", "FP32", (-1, 3)), ("b", "FP32", (-1, 3))
    assert roles(a, b, predict_confidence="b") == ("", "", "b")
    assert found(LABEL, PROBABILITIES, predict_classes="x, y ,z").classes == ("x", "y", "z")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"predict_class": "lable"}, "predict_class names 'lable', its outputs are 'label' INT64 [-1], "),
        ({"predict_class": "probabilities"}, "predict_class names 'probabilities' FP32 [-1, 3], expected one element"),
        ({"predict_label": "label"}, "predict_label names 'label' INT64 [-1], expected text"),
        ({"predict_confidence": "word"}, "predict_confidence names 'word' BYTES [-1, 1], expected floats"),
        ({"predict_confidence": "label"}, "predict_confidence names 'label' INT64 [-1], expected floats"),
        ({"predict_classes": "a,b"}, "predict_classes lists 2 classes for 3 columns"),
    ],
)  # fmt: skip
def test_a_config_that_does_not_fit_is_refused(parameters: dict[str, str], words: str) -> None:
    refusal = found(LABEL, PROBABILITIES, ("word", "BYTES", (-1, 1)), batches=False, **parameters).refusal
    assert words in refusal


def test_a_single_score_needs_a_number_for_its_class() -> None:
    sure = ("sure", "FP32", (-1, 1))
    assert "no output gives the class as a number" in found(WORD, sure, predict_confidence="sure").refusal


SCORES = ("scores", "FP32", (-1, 2))
BOXES = ("detection_boxes", "FP32", (-1, 100, 4))


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        ((("label", "FP32", (-1, 1)), PROBABILITIES), "'label' FP32 [-1, 1] may be the class"),
        ((("label", "FP64", (-1,)), SCORES), "'label' FP64 [-1] may be the class"),
        ((PROBABILITIES, ("predicted_class", "FP32", (-1, 1))), "'predicted_class' FP32 [-1, 1] may be the class"),
        ((("label", "BOOL", (-1, 1)), PROBABILITIES), "'label' BOOL [-1, 1] may be the class"),
        ((("is_fraud", "BOOL", (-1, 1)), SCORES), "'is_fraud' BOOL [-1, 1] may be the class"),
        ((BOXES, ("detection_classes", "FP32", (-1, 100)), ("detection_scores", "FP32", (-1, 100))), "of a detector"),
        ((("boxes", "FP32", (-1, 100, 4)), ("scores", "FP32", (-1, 100))), "of a detector"),
        ((("top_indices", "INT64", (-1, 5)), ("top_scores", "FP32", (-1, 5))), "'top_indices' INT64 [-1, 5] may hold"),
        ((("values", "FP32", (-1, 5)), ("indices", "INT64", (-1, 5))), "'indices' INT64 [-1, 5] may hold"),
        ((("output", "FP32", (-1, 1)), ("weights", "FP32", (-1, 5))), "may both be the scores"),
        ((("probabilities", "FP32", (-1, 1)), ("uncertainty", "FP32", (-1, 5))), "may both be the scores"),
        ((("variable", "FP32", (-1, 3)), ("std", "FP32", (-1, 3))), "may both be the scores"),
        ((("GPmean", "FP32", (-1, 3)), ("GPcov", "FP32", (-1, 3, 3))), "may both be the scores"),
        ((LABEL, ("neighbors_dist", "FP32", (-1, 3))), "no output holds a score for each class"),
    ],
)  # fmt: skip
def test_an_output_that_speaks_against_the_highest_score_is_a_reason(
    outputs: tuple[Spec, ...], why: str
) -> None:
    assert why in found(*outputs).refusal


def test_a_label_without_scores_names_the_remedy() -> None:
    assert found(LABEL).refusal.endswith(
        "; with its name in the parameter predict_class, /predict gives it with the confidence 1"
    )


@pytest.mark.parametrize(
    "outputs",
    [
        (("embedding", "FP32", (-1, 3)), ("prompt_tokens", "INT32", (-1,))),
        (("embedding", "FP32", (-1, 3)), ("prompt_tokens", "INT64", (-1, 1))),
        (("text_output", "BYTES", (-1, 1)),),
        (("count", "INT64", (-1,)),),
    ],
)
def test_what_no_name_calls_a_label_is_not_offered_as_one(outputs: tuple[Spec, ...]) -> None:
    """With a count in predict_class, /predict would give numbers that are no class, with the confidence 1."""
    refusal = found(*outputs).refusal
    assert refusal.startswith("no output holds a score for each of two or more classes: ")
    assert "predict_class" not in refusal


def test_a_text_without_scores_needs_the_list_of_classes() -> None:
    alone = found(WORD, predict_class="label")
    assert (
        alone.refusal == "its label 'label' BYTES [-1] is text, and predict_classes does not list the classes"
    )
    assert "beside the label" in found(WORD, predict_classes="a,b").refusal
    assert "beside the label" in found(WORD, predict_label="label").refusal


def test_integers_called_scores_are_refused_beside_a_class_that_the_config_names() -> None:
    quantized = ("probabilities", "UINT8", (-1, 3))
    assert "holds integers" in found(LABEL, quantized, predict_class="label").refusal
