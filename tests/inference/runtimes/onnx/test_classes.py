"""The classes that exported ONNX files list, found by following their label back."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencehub.core.values.signature import Signature, TensorSpec
from inferencehub.inference.runtimes.onnx.classes import classes_of, predict_classes
from inferencehub.pb import model_config_pb2 as config_pb
from tests.hub import MODELS, ROOT

EXPORTED = ROOT / "tests" / "gateway" / "http_api" / "exported"
NAMES = ["setosa", "versicolor", "virginica"]


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("logistic", ["0", "1", "2"]),  # attributes of a linear classifier,
        ("logistic-text", NAMES),
        ("logistic-10-20-30", ["10", "20", "30"]),
        ("tree-minus-plus", ["-1", "1"]),  # of trees,
        ("lightgbm-text", NAMES),
        ("xgboost", ["0", "1", "2"]),
        ("svc-votes", ["1", "2", "3"]),  # of support vectors
        ("bayes-1-2-3", ["1", "2", "3"]),  # a constant that an ArgMax picks from
        ("mlp", ["0", "1", "2"]),
        ("mixture", []),  # the ArgMax itself
        ("kmeans", []),
        ("multi-label", []),
        ("regression", []),
    ],
)
def test_classes_of_exported_models(name: str, classes: list[str]) -> None:
    assert classes_of(EXPORTED / f"{name}.onnx", "label") == classes


def test_an_output_that_is_not_there_has_no_classes() -> None:
    assert classes_of(MODELS / "digits" / "1" / "model.onnx", "label") == []


def test_scores_are_no_label() -> None:
    assert classes_of(EXPORTED / "xgboost.onnx", "probabilities") == []


@pytest.mark.parametrize("packed", [True, False])
def test_numbers_may_be_packed(tmp_path: Path, packed: bool) -> None:
    """A graph with one classifier whose classes are -1 and 300, written both ways."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    numbers = [b"\xff" * 9 + b"\x01", b"\xac\x02"]
    ints = field(8, b"".join(numbers)) if packed else b"".join(b"\x40" + number for number in numbers)
    attribute = field(1, b"classlabels_ints") + ints
    node = field(2, b"label") + field(2, b"scores") + field(4, b"LinearClassifier") + field(5, attribute)
    file = tmp_path / "model.onnx"
    file.write_bytes(b"\x08\x08" + field(7, field(1, node)))
    assert classes_of(file, "label") == ["-1", "300"]


@pytest.mark.parametrize(
    ("name", "columns", "parameter"),
    [
        (b"setosa", 3, "setosa,versicolor,virginica"),
        (b"setosa", -1, "setosa,versicolor,virginica"),
        (b"setosa", 2, ""),  # the scores are not those of this label
        (b"\xff\xfetosa", 3, ""),
        (b"set,sa", 3, ""),
        (b"setos ", 3, ""),
    ],
)
def test_only_classes_that_fit_the_scores_and_the_parameter_are_taken(
    tmp_path: Path, name: bytes, columns: int, parameter: str
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes((EXPORTED / "logistic-text.onnx").read_bytes().replace(b"setosa", name))
    outputs = (TensorSpec("label", "BYTES", (-1,)), TensorSpec("probabilities", "FP32", (-1, columns)))
    assert predict_classes(file, Signature((), outputs), config_pb.ModelConfig()) == parameter


def test_the_classes_of_a_text_that_comes_without_scores_are_found_too() -> None:
    """As in a model that was exported with ZipMap, of which only the label can be served."""
    label = Signature((), (TensorSpec("label", "BYTES", (-1,)),))
    config = config_pb.ModelConfig()
    assert predict_classes(EXPORTED / "logistic-text.onnx", label, config) == ""
    config.parameters["predict_class"].string_value = "label"
    assert predict_classes(EXPORTED / "logistic-text.onnx", label, config) == ",".join(NAMES)
    config.parameters["predict_class"].string_value = "missing"
    assert predict_classes(EXPORTED / "logistic-text.onnx", label, config) == ""
