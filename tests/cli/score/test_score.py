"""`inferencehub score`: each row gets the answer that a call of its own gets, whatever happens on the way."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_command import ENVIRON
from tests.hub import ROOT, Hub, eventually, mock_model, running_hub

DIGITS = ROOT / "tests/inference/models/digits_held_out.csv"
PIXELS = [f"p{number}" for number in range(64)]

pytestmark = pytest.mark.long


async def start(*arguments: str | Path, **environ: str) -> asyncio.subprocess.Process:
    """`inferencehub score` as a process."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inferencehub", "score", *map(str, arguments),
        env={**ENVIRON, "PYTHONPATH": str(ROOT / "services"), **environ},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def say(*arguments: str | Path) -> tuple[int, str]:
    """Its exit code and its standard error."""
    process = await start(*arguments)
    _, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, err.decode()


def lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def digits(path: Path, count: int) -> list[list[float]]:
    """A CSV file of handwritten digits with an id each; the pixels."""
    pictures = [list(map(float, row[:64])) for row in csv.reader(DIGITS.open())]
    rows = [[number % 17, *pictures[number % len(pictures)][1:]] for number in range(count)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *PIXELS])
        writer.writerows([[f"row {number}", *row] for number, row in enumerate(rows)])
    return rows


async def alone(hub: Hub, row: list[float]) -> list[float]:
    """What the model says to a row in a call of its own."""
    body = {"inputs": [{"name": "input", "shape": [1, 64], "datatype": "FP32", "data": row}]}
    status, answer, _ = await hub.post("/v2/models/digits/infer", body)
    assert status == 200
    found: list[float] = answer["outputs"][0]["data"]
    return found


@pytest.mark.parametrize("jobs", ["", "sqlite::memory:"])
async def test_each_row_has_the_answer_of_a_call_of_its_own(jobs: str, tmp_path: Path) -> None:
    rows = digits(tmp_path / "in.csv", 200)
    async with running_hub(jobs=jobs) as hub:
        asked = (
            "digits",
            tmp_path / "in.csv",
            "-o",
            tmp_path / "out.jsonl",
            "--url",
            hub.url,
            "--keep",
            "id",
        )
        code, err = await say(*asked, "--rows", "30")
        assert (code, "these calls compete with those of others" in err) == (0, not jobs)
        found = lines(tmp_path / "out.jsonl")
        assert [row["id"] for row in found] == [f"row {number}" for number in range(200)]
        for row, one in zip(rows, found, strict=True):
            assert one["probabilities"] == pytest.approx(await alone(hub, row), abs=1e-6)
        assert sorted(os.listdir(tmp_path)) == ["in.csv", "out.jsonl"]
        if jobs:
            status, left, _ = await hub.get("/v2/jobs")
            assert (status, left["jobs"]) == (200, [])


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
async def test_all_kinds_of_files_say_the_same(kind: str, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    texts = [{"text": text} for text in ("I love this", "a chair", 'I hate this, "really"\nawful', "größer")]
    if kind == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(texts), tmp_path / "in.parquet")
    elif kind == "jsonl":
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    else:
        with (tmp_path / "in.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text"])
            writer.writeheader()
            writer.writerows(texts)
    async with running_hub() as hub:
        out = tmp_path / f"out.{kind}"
        code, err = await say(
            "sentiment", tmp_path / f"in.{kind}", "-o", out, "--url", hub.url, "--rows", "3"
        )
        assert code == 0, err
    if kind == "parquet":
        found = [row["label"] for row in parquet.read_table(out).to_pylist()]
    elif kind == "jsonl":
        found = [row["label"] for row in lines(out)]
    else:
        found = [row["label"] for row in csv.DictReader(out.open(newline=""))]
    assert found == ["positive", "neutral", "negative", "neutral"]


async def test_kept_columns_stand_beside_those_that_are_called_like_inputs(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    day = date(2026, 11, 30)
    rows = [{"day": day, "text": "I love this", "note": "x"}, {"day": None, "text": "a chair", "note": "y"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "in.parquet")
    (tmp_path / "in.jsonl").write_text('{"id": 1, "text": "I love this"}\n{"text": "a chair"}\n')
    async with running_hub() as hub:
        for file, keep, kept in (("in.parquet", "day", ["2026-11-30", None]), ("in.jsonl", "id", [1, None])):
            out = tmp_path / f"out of {file}.jsonl"
            code, err = await say("sentiment", tmp_path / file, "-o", out, "--keep", keep, "--url", hub.url)
            assert code == 0, err
            found = lines(out)
            assert [row["label"] for row in found] == ["positive", "neutral"]
            assert [row[keep] for row in found] == kept


async def test_after_a_kill_the_same_command_goes_on(tmp_path: Path) -> None:
    models, count = tmp_path / "models", 1500
    mock_model(models, "slow", delay_ms=10)
    (tmp_path / "in.jsonl").write_text("".join(f'{{"features": [{number}, 1]}}\n' for number in range(count)))
    out, state = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part.state"
    async with running_hub(models) as hub:
        asked = ("slow", tmp_path / "in.jsonl", "-o", out, "--url", hub.url)
        done = 0
        for _ in range(2):
            process = await start(*asked)
            before = done

            def goes_on(before: int = before) -> bool:
                return state.exists() and json.loads(state.read_text())["rows"] > before

            await eventually(goes_on)
            process.send_signal(signal.SIGKILL)
            await process.communicate()
            done = json.loads(state.read_text())["rows"]
            assert not out.exists()
        with (tmp_path / "out.jsonl.part").open("a") as file:
            file.write('{"class_id": 9, "conf')  # a line that was half written
        code, err = await say(*asked)
        assert code == 0, err
        found = lines(out)
        assert len(found) == count
        for number in (0, 1, done - 1, done, done + 1, count - 1):
            status, answer, _ = await hub.post("/predict", {"features": [number, 1]})
            assert (status, answer["class_id"]) == (200, found[number]["class_id"])
            assert answer["confidence"] == pytest.approx(found[number]["confidence"], abs=1e-6)


async def test_another_run_and_another_process_leave_it_alone(tmp_path: Path) -> None:
    mock_model(tmp_path / "models", "slow", delay_ms=50)
    (tmp_path / "in.jsonl").write_text('{"features": [1]}\n' * 1000)
    out, state = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part.state"
    async with running_hub(tmp_path / "models") as hub:
        asked = ("slow", tmp_path / "in.jsonl", "-o", out, "--url", hub.url)
        process = await start(*asked)
        await eventually(state.exists)
        code, err = await say(*asked)
        assert (code, "another process writes" in err) == (2, True)
        process.send_signal(signal.SIGINT)
        _, err_bytes = await process.communicate()
        assert process.returncode == 2
        assert b"the same command goes on from here" in err_bytes
        os.utime(tmp_path / "in.jsonl", (1, 1))
        code, err = await say(*asked)
        assert (code, "is of a run with another input, model or columns" in err) == (2, True)


async def test_a_row_that_does_not_fit_fails_alone(tmp_path: Path) -> None:
    rows = [{"features": [1.0, 2.0]}, {"features": ["red"]}, {"colour": 3}, {"features": [4.0, 5.0]}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "colours.csv").write_text("r,g,b\n250,10,10\n1,2,x\n0,0,200\n")
    async with running_hub() as hub:
        out = tmp_path / "out.jsonl"
        code, err = await say("nearest-colour", tmp_path / "colours.csv", "-o", out, "--url", hub.url)
        assert (code, "1 rows have an error" in err) == (1, True)
        first, second, third = lines(out)
        assert (first["label"], third["label"]) == ("red", "blue")
        assert second == {"error": "column 'b': expected FP32, got 'x'"}
        code, _ = await say("v1-mock", tmp_path / "in.jsonl", "-o", tmp_path / "b.jsonl", "--url", hub.url)
        assert code == 1
        assert ["error" in row for row in lines(tmp_path / "b.jsonl")] == [False, True, True, False]
        code, err = await say("digits", tmp_path / "none.csv", "-o", out, "--url", hub.url)
        assert code == 2
        code, err = await say("no-such", tmp_path / "in.jsonl", "-o", tmp_path / "c.jsonl", "--url", hub.url)
        assert (code, "model 'no-such' is unknown" in err) == (2, True)


async def test_a_table_of_which_no_row_fits_ends_soon_and_leaves_nothing(tmp_path: Path) -> None:
    table, out = tmp_path / "colours.csv", tmp_path / "out.csv"
    table.write_text("id,r,g\n" + "p0,250,10\n" * 5000)
    async with running_hub() as hub:
        code, err = await say("nearest-colour", table, "-o", out, "--url", hub.url)
        assert (code, os.listdir(tmp_path)) == (2, ["colours.csv"])
        assert "rows have an error" in err
        assert "column 'id': expected FP32, got 'p0'; nothing is written (--columns" in err


async def test_where_limits_say_429_it_waits_as_long_as_they_say(tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_text(
        json.dumps({"models": [{"model": "nearest-*", "rows": 40, "rows_burst": 40}]})
    )
    (tmp_path / "in.csv").write_text("r,g,b\n" + "250,10,10\n0,0,200\n" * 80)
    async with running_hub(limits=str(tmp_path / "limits.json")) as hub:
        out = tmp_path / "out.csv"
        code, err = await say(
            "nearest-colour", tmp_path / "in.csv", "-o", out, "--url", hub.url, "--rows", "10"
        )
        assert code == 0, err
        assert [row["label"] for row in csv.DictReader(out.open())] == ["red", "blue"] * 80
        refused = [
            line for line in (await hub.metrics()).splitlines() if 'nearest-colour",status="429"' in line
        ]
        assert any(float(line.rpartition(" ")[2]) > 0 for line in refused)
