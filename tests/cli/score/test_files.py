"""The files of `inferencehub score`: no row and no column is lost, whatever is in them, and IN stays as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from inferencehub.cli.score.tables import Row, write_table
from tests.cli.score.test_score import lines, say
from tests.hub import running_hub

ASKED = ("nearest-colour", "--url")


def table(path: Path) -> dict[str, list[Any]]:
    """The columns of a Parquet file."""
    found: dict[str, list[Any]] = parquet.read_table(path).to_pydict()
    return found


def test_a_parquet_file_has_the_columns_of_all_rows(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    tables: list[list[Row]] = [[{"y": 1}, {"error": "no"}], [{"error": "no"}, {"y": 1}]]
    for rows in tables:
        write_table(out, rows, ["y", "error"])
        assert table(out) == {name: [row.get(name) for row in rows] for name in ("y", "error")}


@pytest.mark.long
async def test_a_row_that_fails_costs_the_others_nothing_in_any_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,r,g,b\n0,1,2,x\n1,250,10,10\n2,y,2,3\n")
    async with running_hub() as hub:
        for kind in ("parquet", "jsonl"):
            out = tmp_path / f"out.{kind}"
            kept = ("--columns", "r,g,b", "--keep", "id")
            code, err = await say(*ASKED, hub.url, tmp_path / "in.csv", "-o", out, *kept)
            assert (code, "2 rows have an error" in err) == (1, True)
        as_table = table(tmp_path / "out.parquet")
    assert as_table["label"] == [None, "red", None]
    for number, row in enumerate(lines(tmp_path / "out.jsonl")):
        assert {name: column[number] for name, column in as_table.items() if name in row} == row


@pytest.mark.long
async def test_the_input_is_never_the_output(tmp_path: Path) -> None:
    data = tmp_path / "in.csv"
    data.write_text("r,g,b\n250,10,10\n")
    (tmp_path / "link.csv").symlink_to(data)
    os.link(data, tmp_path / "hard.csv")
    async with running_hub() as hub:
        for name in ("in.csv", "./in.csv", "link.csv", "hard.csv"):
            code, err = await say(*ASKED, hub.url, data, "-o", f"{tmp_path}/{name}")
            assert (code, "is the file that is read, expected another one" in err) == (2, True)
    assert data.read_text() == "r,g,b\n250,10,10\n"
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.long
async def test_a_file_that_cannot_be_read_or_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("hello")
    parquet.write_table(pyarrow.table({name: [1.0] * 5000 for name in "rgb"}), tmp_path / "cut.parquet")
    whole = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:200] + bytes(200) + whole[400:])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "good.csv").write_text("r,g,b\n250,10,10\n")
    before = sorted(os.listdir(tmp_path))
    async with running_hub() as hub:
        for name, out, said in [
            ("text.parquet", "out.csv", "text.parquet: Parquet"),
            ("cut.parquet", "out.csv", "cut.parquet: "),
            (
                "empty.csv",
                "out.csv",
                "empty.csv is empty, expected the names of the columns in its first line",
            ),
            ("good.csv", "none/out.csv", f"there is no directory '{tmp_path}/none' for 'out.csv'"),
        ]:
            code, err = await say(*ASKED, hub.url, tmp_path / name, "-o", tmp_path / out)
            assert (code, said in err, "Traceback" in err) == (2, True, False), err
        code, err = await say("no-such", "--url", hub.url, tmp_path / "good.csv", "-o", tmp_path / "out.csv")
        assert (code, "is unknown" in err) == (2, True)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.long
async def test_a_table_without_rows_becomes_one_with_the_right_columns(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,r,g,b\n")
    async with running_hub() as hub:
        for kind in ("csv", "jsonl", "parquet"):
            out = tmp_path / f"out.{kind}"
            assert (await say(*ASKED, hub.url, tmp_path / "in.csv", "-o", out, "--keep", "id"))[0] == 0
        _, model, _ = await hub.get("/v2/models/nearest-colour")
    names = ["id", *(one["name"] for one in model["outputs"])]
    assert (tmp_path / "out.csv").read_text() == f"{','.join(names)}\n"
    assert (tmp_path / "out.jsonl").read_text() == ""
    assert table(tmp_path / "out.parquet") == {name: [] for name in names}
