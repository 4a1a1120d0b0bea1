"""What a config may say about a model of tables, and how its classes are listed."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.signature import Signature, TensorSpec
from inferencehub.inference.runtimes.support.tables import class_names, list_classes, listed_classes, settled
from inferencehub.pb import model_config_pb2 as config_pb

INPUT = TensorSpec("input", "FP64", (-1, 4))
OUTPUTS = (TensorSpec("label", "INT64", (-1,)), TensorSpec("probabilities", "FP64", (-1, 3)))


def signature(config: str) -> Signature:
    return settled(text_format.Parse(config, config_pb.ModelConfig()), INPUT, OUTPUTS)


def test_a_file_tells_what_its_config_leaves_out() -> None:
    assert signature("") == Signature((INPUT,), OUTPUTS)
    assert signature('max_batch_size: 8 input { name: "x" }') == Signature(
        (TensorSpec("x", "FP64", (-1, 4)),), OUTPUTS, 8
    )


def test_a_config_chooses_types_of_the_same_kind_and_outputs() -> None:
    found = signature(
        """max_batch_size: 8 input { name: "x" data_type: TYPE_INT32 dims: [ 4 ] }
        output { name: "label" data_type: TYPE_INT32 dims: [ 1 ] }"""
    )
    assert found == Signature(
        (TensorSpec("x", "INT32", (-1, 4)),), (TensorSpec("label", "INT32", (-1, 1)),), 8
    )


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ('input { name: "x" dims: [ -1, 5 ] }', "input 'x' is FP64 [-1, 5], in the model FP64 [-1, 4]"),
        (
            'input { name: "x" data_type: TYPE_STRING }',
            "input 'x' is BYTES [-1, 4], in the model FP64 [-1, 4]",
        ),
        ('output { name: "y" }', "output 'y' is not in the model, which has ['label', 'probabilities']"),
        (
            'output { name: "label" data_type: TYPE_FP64 }',
            "output 'label' is FP64 [-1], in the model INT64 [-1]",
        ),
        ('input { name: "a" } input { name: "b" }', "inputs ['a', 'b'], expected one of shape [-1, 4]"),
    ],
)
def test_a_config_that_does_not_agree_is_refused(config: str, sentence: str) -> None:
    with pytest.raises(HubError) as caught:
        signature(config)
    assert caught.value.detail == f"config.pbtxt: {sentence}"


def test_classes_are_listed_if_the_parameter_can_hold_them() -> None:
    assert class_names([10, 20]) == ("10", "20")
    assert class_names(["a", "b,c"]) == class_names(["a", " b"]) == class_names(["", "a"]) == ()
    assert class_names([1, "1"]) == ()
    config = config_pb.ModelConfig()
    list_classes(config, ())
    assert listed_classes(config) == []
    list_classes(config, ("a", "b"))
    list_classes(config, ("c", "d"))
    assert listed_classes(config) == ["a", "b"]
