"""The commands at the top of docs/cli.md lead from nothing to a scored table and values of the chart, as they stand there."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.cli.run_process import READY, READY_S, running
from tests.cli.test_command import ENVIRON
from tests.hub import ROOT
from tests.pages import commands


async def say(directory: Path, *arguments: str) -> str:
    """What `inferencehub` prints in a directory; it succeeds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inferencehub", *arguments, cwd=directory,
        env={**ENVIRON, "PYTHONPATH": str(ROOT / "services")},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, (arguments, err.decode())
    return out.decode()


@pytest.mark.long
async def test_the_commands_of_the_page_work_one_after_the_other(tmp_path: Path) -> None:
    lines = [
        command.split()[1:] for command in commands("docs/cli.md") if command.startswith("inferencehub ")
    ]
    assert [line[0] for line in lines[:6]] == ["new", "check", "run", "predict", "score", "values"]
    new, check, run_it, predict, score, values = lines[:6]
    (tmp_path / "review.txt").write_text("Is it any good?")
    (tmp_path / "in.csv").write_text("text\nIs it blue?\nIt is blue.\n")
    await say(tmp_path, *new)
    assert "OK     reviews version 1, python" in await say(tmp_path, *check)
    arguments = [str(tmp_path / word) if "/" in word else word for word in run_it[1:]]
    async with running(more={"HUB_MODELS": ""}, arguments=arguments) as run, asyncio.timeout(READY_S):
        await run.until(READY)
        assert 'label BYTES [1, 1]: ["question"]' in await say(tmp_path, *predict, "--url", run.url)
        await say(tmp_path, *score, "--url", run.url)
        labels = [line.split(",")[-1] for line in (tmp_path / "out.csv").read_text().splitlines()]
        assert sorted(labels[1:]) == sorted(["question", "statement"])
    assert 'requiredModels: ["reviews"]' in await say(tmp_path, *values)
