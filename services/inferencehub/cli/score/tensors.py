"""Rows of a table to a request of a model, and its answer to rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from inferencehub.cli.score.tables import Row

FLOATS = ("FP16", "BF16", "FP32", "FP64")
WHOLE = re.compile(r"\s*[+-]?\d+\.0+\s*", re.ASCII)  # as tables with gaps write whole numbers
TRUTHS = {"true": True, "false": False, "1": True, "0": False}


class BadRow(Exception):
    """A row does not fit the model. The text says why."""


class Fill(NamedTuple):
    """How the columns of a table become the inputs of a model.

    Args:
        inputs: name, datatype and shape of each input that is filled, as the model's metadata has them.
        columns: for a model with one input the columns that are its row, in order; () if each input has its own column.
        max_batch_size: rows that a request may have; 0 if the model does not batch.
    """

    inputs: Sequence[Mapping[str, Any]]
    columns: Sequence[str]
    max_batch_size: int

    def request(self, rows: Sequence[Row]) -> bytes:
        """The body of a call with these rows.

        Raises:
            BadRow: if a cell is none of the input's type, or rows have different shapes.
        """
        return json.dumps({"inputs": [self._tensor(one, rows) for one in self.inputs]}).encode()

    def _tensor(self, one: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
        values = [self._value(one, row) for row in rows]
        shapes = {shape_of(value) for value in values}
        if len(shapes) != 1:
            raise BadRow(f"input '{one['name']}': rows have different shapes: {sorted(shapes)}")
        shape, expected = [*shapes.pop()], [*one["shape"]]
        own = expected[1:] if self.max_batch_size else expected
        if prod(shape) == 1 and all(size in (1, -1) for size in own):
            shape = [1] * len(own)  # one value is a row of any rank
        elif len(shape) == len(own) - 1 and own[0] in (1, -1):
            shape = [1, *shape]  # a model that takes rows, and no batch
        tensor = {"name": one["name"], "datatype": one["datatype"]}
        if self.max_batch_size:
            return {**tensor, "shape": [len(rows), *shape], "data": values}
        [value] = values
        return {**tensor, "shape": shape, "data": value if isinstance(value, list) else [value]}

    def _value(self, one: Mapping[str, Any], row: Row) -> Any:
        try:
            if self.columns:
                cells = [named(row, name, one["datatype"]) for name in self.columns]
                return cells if len(cells) > 1 else cells[0]
            return named(row, one["name"], one["datatype"])
        except KeyError as error:
            raise BadRow(f"the row has no column {error}") from None


def fill(model: Mapping[str, Any], config: Mapping[str, Any], row: Row, chosen: Sequence[str]) -> Fill:
    """How a table fills a model.

    Args:
        model: its metadata.
        config: its configuration.
        row: the first row of the table.
        chosen: columns for the only input; () if nobody has chosen.

    Raises:
        BadRow: if the table has no columns for it.
    """
    optional = {one["name"] for one in config.get("input", []) if one.get("optional")}
    batch = int(config.get("max_batch_size", 0))
    named = [one for one in model["inputs"] if one["name"] in row]
    needed = [one for one in model["inputs"] if one["name"] not in optional]
    if not chosen and all(one["name"] in row for one in needed):
        return Fill(named, (), batch)
    if len(needed) != 1:
        names = ", ".join(f"'{one['name']}'" for one in needed)
        raise BadRow(
            f"the model has the inputs {names}, expected columns of these names, got {', '.join(map(repr, row))}"
        )
    columns = [*(chosen or row)]
    missing = [name for name in columns if name not in row]
    if missing:
        raise BadRow(f"there is no column '{missing[0]}', expected of: {', '.join(map(repr, row))}")
    return Fill(needed, columns, batch)


def named(row: Row, column: str, datatype: str) -> Any:
    """The cell of a column; see `cell`.

    Raises:
        KeyError: if the row has no such column.
        BadRow: names the column.
    """
    try:
        return cell(row[column], datatype)
    except (BadRow, ValueError) as error:
        raise BadRow(f"column '{column}': {error}") from None


def cell(value: Any, datatype: str) -> Any:
    """A cell as an element of a datatype, or as nested lists of them: a text that begins with [ is JSON.

    Raises:
        BadRow: if it is none.
    """
    if isinstance(value, list):
        return [cell(one, datatype) for one in value]
    if datatype == "BYTES" and value is not None:
        return value.decode() if isinstance(value, bytes) else str(value)
    if isinstance(value, str) and value.startswith("["):
        return cell(json.loads(value), datatype)
    try:
        if datatype == "BOOL":
            return TRUTHS[str(value).lower()]
        if datatype in FLOATS:
            return float(value)
        if isinstance(value, str) and WHOLE.fullmatch(value):
            value = value.partition(".")[0]
        whole = int(value)
        if isinstance(value, float) and value != whole:
            raise ValueError
        return whole
    except (ValueError, TypeError, KeyError, OverflowError):
        raise BadRow(f"expected {datatype}, got {value!r:.80}") from None


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of nested lists, by their first elements; () for a single element."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def answer_rows(answer: Mapping[str, Any], rows: int, batches: bool) -> list[Row]:
    """The outputs of an answer by name, for each row; an output of one element is that element, others are flat lists.

    Raises:
        ValueError: if an output does not have this number of rows.
    """
    found: list[Row] = [{} for _ in range(rows)]
    for one in answer["outputs"]:
        data = one["data"]
        if batches and (not one["shape"] or one["shape"][0] != rows):
            raise ValueError(f"output '{one['name']}' has shape {one['shape']}, expected {rows} rows")
        size = len(data) // rows
        for number, row in enumerate(found):
            part = data[number * size : (number + 1) * size]
            row[one["name"]] = part[0] if size == 1 else part
    return found
