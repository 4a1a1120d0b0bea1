"""How columns of a table become the inputs of a model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inferencehub.cli.score.tensors import BadRow, answer_rows, fill

ONE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}
TWO = {
    "inputs": [
        {"name": "x", "datatype": "INT64", "shape": [-1, 1]},
        {"name": "note", "datatype": "BYTES", "shape": [-1, 1]},
    ]
}
BATCHES = {"max_batch_size": 8}


def tensors(model: Any, config: Any, rows: list[dict[str, Any]], *chosen: str) -> dict[str, Any]:
    """Shape and data of each input of a request with all rows."""
    body = json.loads(fill(model, config, rows[0], chosen).request(rows))
    return {one["name"]: (one["shape"], one["data"]) for one in body["inputs"]}


def test_columns_are_the_only_input_or_have_its_name() -> None:
    rows = [{"a": "1", "b": "2.5"}, {"a": "3", "b": "4"}]
    assert tensors(ONE, BATCHES, rows) == {"x": ([2, 2], [[1.0, 2.5], [3.0, 4.0]])}
    assert tensors(ONE, BATCHES, rows, "b", "a") == {"x": ([2, 2], [[2.5, 1.0], [4.0, 3.0]])}
    assert tensors(ONE, BATCHES, [{"x": "[1, 2]", "id": "7"}]) == {"x": ([1, 2], [[1.0, 2.0]])}
    assert tensors({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2]}]}, {}, rows[:1]) == {
        "x": ([2], [1.0, 2.5])
    }


def test_a_row_has_the_rank_of_a_model_that_does_not_batch_and_takes_rows() -> None:
    rows = [{"a": "1", "b": "2.5"}]
    for size in (-1, 1):
        model = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [size, 2]}]}
        assert tensors(model, {}, rows) == {"x": ([1, 2], [1.0, 2.5])}
    several = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [3, 2]}]}
    assert tensors(several, {}, rows) == {"x": ([2], [1.0, 2.5])}


def test_each_input_has_its_column_and_optional_ones_may_lack() -> None:
    rows = [{"x": 2**60 + 1, "note": "größer"}]
    assert tensors(TWO, BATCHES, rows) == {"x": ([1, 1], [2**60 + 1]), "note": ([1, 1], ["größer"])}
    optional = {**BATCHES, "input": [{"name": "x"}, {"name": "note", "optional": True}]}
    assert tensors(TWO, optional, [{"x": 3}]) == {"x": ([1, 1], [3])}
    with pytest.raises(
        BadRow, match="the model has the inputs 'x', 'note', expected columns of these names, got 'x'"
    ):
        tensors(TWO, BATCHES, [{"x": 3}])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"a": "1", "b": "red"}], "column 'b': expected FP32, got 'red'"),
        ([{"a": "1", "b": None}], "expected FP32, got None"),
        ([{"x": [1, 2]}, {"x": [1]}], "rows have different shapes"),
        ([{"a": 1, "b": 2}, {"a": 1}], "the row has no column 'b'"),
    ],
)
def test_a_cell_that_does_not_fit_is_named(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(BadRow, match=said):
        tensors(ONE, BATCHES, rows)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"x": 2.7, "note": ""}, "expected INT64, got 2.7"),
        ({"x": float("inf"), "note": ""}, "expected INT64, got inf"),
        ({"x": "2.7", "note": ""}, "expected INT64, got '2.7'"),
        ({"x": "1e3", "note": ""}, "expected INT64, got '1e3'"),
        ({"x": 3, "note": None}, "expected BYTES, got None"),
    ],
)
def test_a_cell_never_becomes_another_value(row: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRow, match=said):
        tensors(TWO, BATCHES, [row])


def test_whole_numbers_are_integers_however_the_file_has_them() -> None:
    for written in (3.0, "3", "3.0", " 3.00"):
        assert tensors(TWO, BATCHES, [{"x": written, "note": b"yes"}])["x"] == ([1, 1], [3])
    exact = 2**53 + 1
    assert tensors(TWO, BATCHES, [{"x": f"{exact}.0", "note": ""}])["x"] == ([1, 1], [exact])


def test_outputs_are_divided_among_rows() -> None:
    outputs = [
        {"name": "y", "shape": [2, 1], "data": [1, 2]},
        {"name": "z", "shape": [2, 2], "data": [3, 4, 5, 6]},
    ]
    assert answer_rows({"outputs": outputs}, 2, True) == [{"y": 1, "z": [3, 4]}, {"y": 2, "z": [5, 6]}]
    with pytest.raises(ValueError, match="expected 3 rows"):
        answer_rows({"outputs": outputs}, 3, True)
