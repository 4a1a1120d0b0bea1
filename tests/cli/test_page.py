"""The commands of docs/your-model.md, and those at the top of docs/cli.md, lead from nothing to a scored table and values of the chart, as they stand there."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
import yaml

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
    names = ["new", "check", "run", "predict", "score", "image", "values"]
    assert [line[0] for line in lines[:7]] == names
    new, check, run_it, predict, score, image, values = lines[:7]
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
    assert "COPY models /models" in await say(tmp_path, *image, "--print")
    assert 'requiredModels: ["reviews"]' in await say(tmp_path, *values)


@pytest.mark.long
async def test_the_way_of_a_model_works_command_by_command(tmp_path: Path) -> None:
    """docs/your-model.md, but for docker and a cluster: the chart takes what its commands set."""
    from tests.chart.rendering import render

    lines = [command.split() for command in commands("docs/your-model.md")]
    new, check, run_it, predict, score, image, values, _, image_v2 = [
        line[1:] for line in lines if line[:1] == ["inferencehub"]
    ]
    (tmp_path / "mine").mkdir()
    (tmp_path / "review.txt").write_text("Is it any good?\n")
    (tmp_path / "in.csv").write_text("text\nIs it blue?\n")
    await say(tmp_path, *new)
    assert "OK     reviews version 1, python" in await say(tmp_path, *check)
    [curl] = [line for line in commands("docs/your-model.md") if line.startswith("curl")]
    arguments = [str(tmp_path / "mine"), *run_it[2:]]
    async with running(more={"HUB_MODELS": ""}, arguments=arguments) as run, asyncio.timeout(READY_S):
        await run.until(READY)
        assert '["question"]' in await say(tmp_path, *predict, "--url", run.url)
        await say(tmp_path, *score, "--url", run.url)
        assert (tmp_path / "out.csv").read_text().splitlines()[1].endswith(",question")
        asked = curl.replace("localhost:3000", run.url.removeprefix("http://"))
        shell = await asyncio.create_subprocess_shell(asked, stdout=asyncio.subprocess.PIPE)
        assert b'"label":"question"' in (await shell.communicate())[0]
    for one in (image, image_v2):
        assert "COPY models /models" in await say(tmp_path, *one, "--print")
    written = yaml.safe_load(await say(tmp_path, *values[: values.index(">")]))
    [install] = [line for line in lines if line[:2] == ["helm", "install"]]
    tagged = dict(word.split("=") for word in install if "=" in word)
    for name, value in tagged.items():
        *path, last = name.split(".")
        target = written
        for key in path:
            target = target.setdefault(key, {})
        target[last] = value
    pods = [one for one in render(written) if one["kind"] == "Deployment"]
    images = [one["spec"]["template"]["spec"]["containers"][0]["image"] for one in pods]
    assert image[-1] in images
