"""Files of rows: CSV, JSON lines and Parquet, read row by row and written whole. A row is a dict by column."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

Row = dict[str, Any]
KINDS = (".csv", ".jsonl", ".parquet")
AT_ONCE = 1024  # rows of a Parquet file that are in memory at a time


class BadTable(Exception):
    """A file can't be read as rows. The text says where and why."""


def count_rows(path: Path) -> int:
    """How many rows a file has.

    Raises:
        BadTable: if it can't be read.
    """
    if path.suffix == ".parquet":
        return int(opened(path).metadata.num_rows)
    return sum(1 for _ in read_rows(path, 0, decode=False))


def read_rows(path: Path, skip: int, decode: bool = True) -> Iterator[Row]:
    """The rows of a file behind the first `skip`; cells of CSV are texts.

    Args:
        path: of the file, whose name ends in one of `KINDS`.
        skip: rows.
        decode: False for rows without their values, to count them.

    Raises:
        BadTable: if it can't be read.
    """
    kinds = {".csv": csv_rows(path), ".jsonl": json_rows(path, decode), ".parquet": parquet_rows(path)}
    try:
        yield from islice(kinds[path.suffix], skip, None)
    except (
        OSError,
        ValueError,
        csv.Error,
    ) as error:  # ValueError: no UTF-8, or what pyarrow finds in a damaged file
        raise BadTable(f"{path}: {error}") from None


def csv_rows(path: Path) -> Iterator[Row]:
    """The rows of a CSV file, whose first line has the names of the columns."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        names = list(reader.fieldnames or ())
        if not names:
            raise BadTable(f"{path} is empty, expected the names of the columns in its first line")
        twice = [name for place, name in enumerate(names) if name in names[:place]]
        if twice:
            raise BadTable(f"{path}, line 1: the column '{twice[0]}' comes twice, expected each name once")
        for row in reader:
            if None in row or None in row.values():
                expected = f"expected {len(names)} cells, as in the first line"
                raise BadTable(f"{path}, line {reader.line_num}: {expected}")
            yield dict(row)


def json_rows(path: Path, decode: bool) -> Iterator[Row]:
    """The rows of a file with a JSON object in each line."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line) if decode else {}
            except ValueError as error:
                raise BadTable(f"{path}, line {number}: {error}") from None
            if not isinstance(row, dict):
                raise BadTable(f"{path}, line {number}: expected a JSON object with the columns by name")
            yield row


def parquet_rows(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file."""
    for batch in opened(path).iter_batches(AT_ONCE):
        yield from batch.to_pylist()


def opened(path: Path) -> Any:
    """A Parquet file, of which no row has been read.

    Raises:
        BadTable: if it is none.
    """
    library = parquet()
    try:
        return library.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise BadTable(f"{path}: {error}") from None


def write_table(path: Path, rows: Iterable[Row], columns: list[str]) -> None:
    """Write rows as the kind that the file's name says. Lists are JSON in a cell of CSV.

    Args:
        path: of the file.
        rows: each with some of the columns.
        columns: all of them, in order.
    """
    if path.suffix == ".parquet":
        write_parquet(path, rows, columns)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    name: json.dumps(cell) if isinstance(cell, list | dict) else cell
                    for name, cell in row.items()
                }
            )


def write_parquet(path: Path, rows: Iterable[Row], columns: list[str]) -> None:
    """Write rows as one Parquet file; their types are those of all rows together, so all are in memory."""
    import pyarrow

    whole = list(rows)
    # Not `Table.from_pylist`: it has the columns of the first row alone.
    table = pyarrow.table({name: pyarrow.array([row.get(name) for row in whole]) for name in columns})
    parquet().write_table(table, path)


def parquet() -> Any:
    """The library for Parquet.

    Raises:
        ClickException: if it is missing.
    """
    try:
        from pyarrow import parquet as library
    except ModuleNotFoundError:
        raise click.ClickException(
            "pyarrow is missing, which reads and writes Parquet: pip install 'inferencehub[score]'"
        ) from None
    return library
