"""What `run` prints once models serve: a command that is answered, for models of one's own too."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from inferencehub.cli.new.command import new
from inferencehub.cli.processes.greeting import call_of
from tests.cli.run_process import READY_S, Run, running
from tests.hub import write_model


async def command_of(run: Run) -> list[str]:
    """The words of the printed command."""
    return shlex.split((await run.until(r"^  (curl .*)$"))[1])


@pytest.mark.parametrize("template", ["text", pytest.param("chat", marks=pytest.mark.long)])
async def test_the_call_of_a_new_model_is_answered(template: str, tmp_path: Path) -> None:
    made = CliRunner().invoke(new, ["mine", "--from", template, "--into", str(tmp_path)], obj={})
    assert made.exit_code == 0, made.output
    async with (
        running(tmp_path, more={"HUB_CONSOLE": "false"}) as run,
        asyncio.timeout(READY_S),
        aiohttp.ClientSession() as client,
    ):
        *curl, url, data, body = await command_of(run)
        assert (curl, data) == (["curl", "-s"], "-d")
        assert (await run.until(r"^Pages: (.*?)   "))[1] == f"http://localhost:{run.gateway}/docs"
        async with client.post(url, data=body) as answer:
            assert answer.status == 200, await answer.text()
            found = await answer.json()
            assert "mine" in (found.get("model_name"), found.get("model"))


@pytest.mark.long
async def test_the_first_model_that_a_line_can_call_is_named(tmp_path: Path) -> None:
    """The first one takes a large input, the second one has a quote in its input's name."""
    large = 'max_batch_size: 0 input { name: "x" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }'
    quoted = 'max_batch_size: 4 input { name: "it\'s" data_type: TYPE_BOOL dims: [ -1, 2 ] }'
    for name, takes, kind in (("a", large, "TYPE_FP32"), ("b", quoted, "TYPE_BOOL")):
        config = f'{takes} backend: "python" output {{ name: "y" data_type: {kind} dims: [ -1, -1 ] }}'
        write_model(tmp_path, name, config, {"1/model.py": CODE})
    async with running(tmp_path) as run, asyncio.timeout(READY_S), aiohttp.ClientSession() as client:
        *_, url, _, body = await command_of(run)
        assert url.endswith("/v2/models/b/infer")
        tensor = {"name": "it's", "datatype": "BOOL", "shape": [1, 1, 2], "data": [False, False]}
        assert json.loads(body) == {"inputs": [tensor]}
        async with client.post(url, data=body) as answer:
            assert answer.status == 200, await answer.text()


@pytest.mark.long
async def test_a_model_that_the_gateway_learns_of_a_moment_later_is_named(tmp_path: Path) -> None:
    large = X.replace("[ 1 ]", "[ 1000 ]")
    slow = CODE.replace("pass", "__import__('time').sleep(1)")
    for name, takes, code in (("a", large, CODE), ("b", X, slow)):
        write_model(tmp_path, name, f'backend: "python" {takes}', {"1/model.py": code})
    async with running(tmp_path, more={"HUB_READY_AFTER": "first"}) as run:
        *_, url, _, _ = await command_of(run)
    assert url.endswith("/v2/models/b/infer")


@pytest.mark.long
async def test_else_it_lists_the_models(tmp_path: Path) -> None:
    more = "model_transaction_policy { decoupled: true }"
    write_model(tmp_path, "several", f'backend: "python" {more} {X}', {"1/model.py": SEVERAL})
    async with running(tmp_path) as run, asyncio.timeout(READY_S), aiohttp.ClientSession() as client:
        *curl, url = await command_of(run)
        assert curl == ["curl", "-s"]
        async with client.get(url) as answer:
            assert [model["name"] for model in (await answer.json())["models"]] == ["several"]


X = """input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }"""
CODE = """class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": next(iter(inputs.values()))}
"""
SEVERAL = CODE.replace("return", "yield")


@pytest.mark.parametrize(
    "config",
    [
        {"model_transaction_policy": {"decoupled": True}},
        {"model_warmup": [{"inputs": {"x": {"input_data_file": "picture"}}}]},
        {"input": [{"name": "x", "optional": True}]},
    ],
)
def test_no_call_is_made_that_would_not_be_answered(config: dict[str, object]) -> None:
    model = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [-1]}]}
    assert call_of("m", model, config) is None
    assert call_of("m", model, {}) is not None
