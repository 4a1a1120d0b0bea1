"""Signatures: requests checked against the inputs that a model takes."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.core.values.tensors import DTYPES, Tensor, pack_bytes

SIGNATURE = Signature(
    inputs=(
        TensorSpec("image", "FP32", (-1, 2, -1)),
        TensorSpec("mask", "BOOL", (-1, 2), optional=True),
        TensorSpec("note", "BYTES", (-1, 1)),
    ),
    outputs=(TensorSpec("digit", "INT64", (-1, 1)), TensorSpec("scores", "FP32", (-1, 10))),
    max_batch_size=4,
)


def zeros(name: str, dtype: str, *shape: int) -> Tensor:
    data = pack_bytes([b""] * prod(shape)) if dtype == "BYTES" else bytes(prod(shape) * DTYPES[dtype])
    return Tensor(name, dtype, shape, data)


IMAGE, MASK, NOTE = zeros("image", "FP32", 3, 2, 5), zeros("mask", "BOOL", 3, 2), zeros("note", "BYTES", 3, 1)


def asked(*inputs: Tensor, outputs: tuple[str, ...] = ()) -> InferRequest:
    return InferRequest("m", "", inputs, outputs)


def refusal_of(signature: Signature, request: InferRequest) -> str:
    with pytest.raises(HubError) as refusal:
        signature.check(request)
    assert refusal.value.kind is Kind.BAD_INPUT
    assert refusal.value.detail.startswith("model 'm': ")
    return refusal.value.detail


def test_inputs_come_out_in_the_model_s_order_with_their_rows() -> None:
    request, rows = SIGNATURE.check(asked(NOTE, MASK, IMAGE))
    assert (request.inputs, rows) == ((IMAGE, MASK, NOTE), 3)


def test_a_request_that_is_right_is_not_copied() -> None:
    request = asked(IMAGE, NOTE, outputs=("scores", "digit"))
    assert SIGNATURE.check(request)[0] is request


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asked(IMAGE), ["input 'note' is missing", "'image' FP32 [-1, 2, -1]", "'note' BYTES [-1, 1]"]),
        (asked(), ["input 'image' is missing"]),
        (asked(IMAGE, NOTE, zeros("other", "INT8", 3)), ["unknown input 'other'", "'image' FP32 [-1, 2, -1]"]),
        (asked(IMAGE, NOTE, IMAGE), ["each input once", "['image', 'note', 'image']"]),
        (asked(zeros("image", "FP64", 3, 2, 5), NOTE), ["input 'image' is FP64, expected FP32"]),
        (
            asked(zeros("image", "FP32", 3, 1, 5), NOTE),
            ["input 'image' has shape [3, 1, 5], expected [-1, 2, -1] where -1 is any size"],
        ),
        (asked(zeros("image", "FP32", 3, 2), NOTE), ["has shape [3, 2], expected [-1, 2, -1]"]),
        (asked(zeros("image", "FP32", 2, 2, 5), NOTE), ["input 'note' has 3 rows, input 'image' 2"]),
        (
            asked(zeros("image", "FP32", 5, 2, 5), zeros("note", "BYTES", 5, 1)),
            ["5 rows in the request, expected 1 to 4"],
        ),
        (
            asked(zeros("image", "FP32", 0, 2, 5), zeros("note", "BYTES", 0, 1)),
            ["0 rows in the request, expected 1 to 4"],
        ),
        (asked(IMAGE, NOTE, outputs=("digit", "scores", "digit")), ["each output once, got ['digit', 'scores', 'digit']"]),
        (asked(IMAGE, NOTE, outputs=("digits",)), ["unknown output 'digits'", "['digit', 'scores']"]),
    ],
    ids=[
        "missing", "nothing", "unknown", "twice", "dtype", "dimension", "rank", "uneven", "too many rows", "no rows",
        "output twice", "output",
    ],
)  # fmt: skip
def test_each_refusal_says_what_was_expected_and_what_came(request_: InferRequest, words: list[str]) -> None:
    detail = refusal_of(SIGNATURE, request_)
    for word in words:
        assert word in detail


def test_long_names_do_not_come_back_whole() -> None:
    for request in (
        asked(IMAGE, NOTE, zeros("n" * 5000, "INT8", 3)),
        asked(IMAGE, NOTE, outputs=("n" * 5000,)),
        asked(*[zeros("n" * 5000, "INT8", 3)] * 2),
    ):
        assert len(refusal_of(SIGNATURE, request)) < 400


def test_a_model_that_does_not_batch_has_one_row_whatever_its_shapes() -> None:
    signature = replace(SIGNATURE, max_batch_size=0)
    assert signature.check(asked(IMAGE, zeros("note", "BYTES", 7, 1)))[1] == 1
    fixed = Signature((TensorSpec("x", "INT8", (2,)),), ())
    assert fixed.check(asked(zeros("x", "INT8", 2)))[1] == 1
    assert "expected [2]" in refusal_of(fixed, asked(zeros("x", "INT8", 3)))
    scalar = Signature((TensorSpec("x", "INT8", ()),), ())
    assert scalar.check(asked(zeros("x", "INT8")))[1] == 1


def test_optional_inputs_may_all_be_missing() -> None:
    signature = Signature((TensorSpec("x", "INT8", (-1,), optional=True),), (), 4)
    assert signature.check(asked())[1] == 1


@pytest.mark.parametrize(
    ("value", "once"),
    [("true", True), ("1", True), ("Yes", True), ("false", False), ("0", False), ("", False)],
)
def test_a_config_says_whether_work_may_run_twice(value: str, once: bool) -> None:
    info = ModelInfo("m", "1", "", SIGNATURE, parameters=(("run_at_most_once", value),))
    assert info.at_most_once is once
    assert info.parameter("run_at_most_once") == value
    assert info.parameter("other") == ""
