"""Names, types and shapes of PyTorch models: what a config says must agree with what the file tells."""

from __future__ import annotations

import pytest

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.signature import TensorSpec
from inferencehub.inference.models.config import parse_config
from inferencehub.inference.runtimes.torch.signature import inputs_of, outputs_of, places

ARGUMENTS = ("left", "right", "bias")
SCRIPT = [TensorSpec("left", "", ()), TensorSpec("right", "", ()), TensorSpec("bias", "", (), optional=True)]
EXPORTED = [TensorSpec("left", "FP32", (-1, 4)), TensorSpec("right", "INT64", (2,))]
UNDECLARED = (
    "TorchScript tells neither types nor shapes: config.pbtxt needs at least one input and one output"
)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("right", "left"), [1, 0]),
        (("INPUT__1", "INPUT__0"), [1, 0]),
        (("any__1", "__0"), [1, 0]),
        (("right", "INPUT__0"), [0, 1]),
        (("INPUT__1", "second"), [0, 1]),
        (("INPUT__1x", "INPUT__0"), [0, 1]),
        ((), []),
    ],
)
def test_a_name_is_an_argument_or_has_a_number_or_the_order_counts(
    names: tuple[str, ...], expected: list[int]
) -> None:
    assert places(names, ARGUMENTS) == expected


def entry(name: str, dtype: str = "FP32", dims: str = "-1", more: str = "") -> str:
    return f'input {{ name: "{name}" data_type: TYPE_{dtype} dims: [ {dims} ] {more} }}'


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("", UNDECLARED),
        (entry("left"), "config.pbtxt: the model's input 'right' is not listed"),
        (
            entry("a__0") + entry("b__3"),
            "config.pbtxt: input 'b__3' is not in the model, which has ['left', 'right', 'bias']",
        ),
        (
            entry("a__1") + entry("b__1"),
            "config.pbtxt: inputs ['a__1', 'b__1'] name one of the model's twice, which has ['left', 'right', 'bias']",
        ),
        (
            entry("right") + entry("other"),
            "config.pbtxt: input 'right' stands in the place of the model's 'left', because others have names that it does not "
            "know, expected names among ['left', 'right', 'bias'] for all",
        ),
        (
            entry("left") + 'input { name: "right" dims: [ 1 ] }',
            "config.pbtxt: input 'right' needs a name and a data_type, got type INVALID",
        ),
        (
            entry("left") + entry("right", "STRING"),
            "config.pbtxt: input 'right' is TYPE_STRING, and tensors of PyTorch hold numbers",
        ),
        (
            entry("x") + entry("y", more="optional: true"),
            "config.pbtxt: input 'y' is optional, and the model's 'right' is not",
        ),
    ],
)
def test_inputs_of_torchscript_must_be_declared(config: str, sentence: str) -> None:
    with pytest.raises(HubError) as caught:
        inputs_of(parse_config(config, "m"), SCRIPT)
    assert caught.value.detail == sentence


def test_outputs_of_torchscript_must_be_declared() -> None:
    with pytest.raises(HubError) as caught:
        outputs_of(parse_config("", "m"), None)
    assert caught.value.detail == UNDECLARED
    config = parse_config(entry("y__1", "FP16", "3").replace("input", "output") + "max_batch_size: 2", "m")
    assert outputs_of(config, None) == [(TensorSpec("y__1", "FP16", (-1, 3)), 1)]


def test_a_file_tells_what_the_config_leaves_out() -> None:
    assert inputs_of(parse_config("", "m"), EXPORTED) == [(EXPORTED[0], 0), (EXPORTED[1], 1)]
    config = parse_config('input { name: "a" dims: [ 8, 4 ] } input { name: "b" }', "m")
    assert inputs_of(config, EXPORTED) == [
        (TensorSpec("a", "FP32", (8, 4)), 0),
        (TensorSpec("b", "INT64", (2,)), 1),
    ]
    reshaped = parse_config('input { name: "a" dims: [ 4 ] reshape { shape: [ 1, 4 ] } }', "m")
    assert inputs_of(reshaped, EXPORTED[:1]) == [(TensorSpec("a", "FP32", (1, 4)), 0)]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            entry("left", "FP64", "-1, 4"),
            "config.pbtxt: input 'left' is FP64 [-1, 4], in the model FP32 [-1, 4]",
        ),
        (entry("left", dims="4"), "config.pbtxt: input 'left' is FP32 [4], in the model FP32 [-1, 4]"),
        (entry("left", dims="1, 5"), "config.pbtxt: input 'left' is FP32 [1, 5], in the model FP32 [-1, 4]"),
        (
            "max_batch_size: 4",
            "config.pbtxt: max_batch_size 4, but 'right' has shape [2] in the model, whose first dimension is not variable: "
            "export it with dynamic_shapes",
        ),
    ],
)
def test_a_config_that_does_not_agree_with_the_file_is_refused(config: str, sentence: str) -> None:
    with pytest.raises(HubError) as caught:
        inputs_of(parse_config(config, "m"), EXPORTED)
    assert caught.value.detail == sentence
