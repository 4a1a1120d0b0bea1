"""`inferencehub score` where something is unusual: a job that stays, a newer version, an output called `error`, a name twice."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.cli.score.test_score import lines, say, start
from tests.gateway.routing.traffic.versions import split_hub, traffic_of, write
from tests.hub import eventually, running_hub, write_model

pytestmark = pytest.mark.long

SAYS = """
import time

class Model:
    def __init__(self, directory, parameters):
        self.version = int(directory.name)

    def predict(self, inputs):
        time.sleep(0.005)
        if inputs["x"][0] < 0: raise ValueError("below 0")
        return {"version": [self.version], "error": inputs["x"]}
"""
CONFIG = """backend: "python" version_policy { all { } }
    input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
    output { name: "version" data_type: TYPE_INT64 dims: [ 1 ] }
    output { name: "error" data_type: TYPE_FP32 dims: [ 1 ] }"""


@asynccontextmanager
async def without_delete(url: str) -> AsyncIterator[tuple[str, Counter[str]]]:
    """A proxy before a gateway that refuses each DELETE, and what it was asked."""
    asked: Counter[str] = Counter()

    async def passed_on(request: web.Request) -> web.Response:
        asked[request.method] += 1
        if request.method == "DELETE":
            return web.json_response({"error": "no deletes here"}, status=405)
        kept = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        async with client.request(
            request.method, url + request.path_qs, data=await request.read(), headers=kept
        ) as answer:
            named = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() in ("location", "content-type")
            }
            return web.Response(status=answer.status, body=await answer.read(), headers=named)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", passed_on)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    async with aiohttp.ClientSession() as client:
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
        finally:
            await runner.cleanup()


async def test_a_job_that_cannot_be_deleted_is_not_scored_again(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "says", CONFIG, {"1/model.py": SAYS})
    (tmp_path / "in.jsonl").write_text('{"x": [1]}\n' * 5)
    async with (
        running_hub(tmp_path / "models", jobs="sqlite::memory:") as hub,
        without_delete(hub.url) as (url, asked),
    ):
        code, err = await say("says", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl", "--url", url)
    assert code == 0, err
    assert len(lines(tmp_path / "out.jsonl")) == 5
    assert (asked["POST"], asked["DELETE"]) == (5, 5)


async def test_a_newer_version_does_not_take_over_a_run(tmp_path: Path) -> None:
    models, count = tmp_path / "models", 600
    write_model(models, "says", CONFIG, {"1/model.py": SAYS})
    (tmp_path / "in.jsonl").write_text('{"x": [1]}\n' * count)
    out, state = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part.state"
    async with running_hub(models) as hub:
        process = await start("says", tmp_path / "in.jsonl", "-o", out, "--url", hub.url)
        await eventually(lambda: state.exists() and json.loads(state.read_text())["rows"])
        process.send_signal(signal.SIGKILL)
        await process.communicate()
    write_model(models, "says", CONFIG, {"2/model.py": SAYS})
    async with running_hub(models) as hub:
        code, err = await say("says", tmp_path / "in.jsonl", "-o", out, "--url", hub.url)
        assert code == 0, err
        assert [row["version"] for row in lines(out)] == [1] * count
        code, _ = await say("says", tmp_path / "in.jsonl", "-o", tmp_path / "b.jsonl", "--url", hub.url)
        assert (code, lines(tmp_path / "b.jsonl")[0]["version"]) == (0, 2)


async def test_a_version_that_gets_no_calls_gets_no_rows(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "says", CONFIG, {f"{one}/model.py": SAYS for one in (1, 2, 3)})
    (tmp_path / "in.jsonl").write_text('{"x": [1]}\n' * 3)
    entry = {"weights": {"1": 90, "2": 10, "3": 0}}
    out = tmp_path / "out.jsonl"
    async with split_hub(tmp_path, {}) as hub:
        for entries, version in (({"says": entry}, 1), ({"says": {"aliases": {"new": "3"}}}, 3), ({}, 3)):
            write(tmp_path / "traffic.json", entries)
            traffic_of(hub).look()
            code, err = await say("says", tmp_path / "in.jsonl", "-o", out, "--url", hub.url)
            assert (code, [row["version"] for row in lines(out)]) == (0, [version] * 3), err
            out.unlink()


async def test_an_alias_stands_for_one_version_to_the_end_of_a_run(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "says", CONFIG, {f"{one}/model.py": SAYS for one in (1, 2)})
    count, out, state = 600, tmp_path / "out.jsonl", tmp_path / "out.jsonl.part.state"
    (tmp_path / "in.jsonl").write_text('{"x": [1]}\n' * count)
    async with split_hub(tmp_path, {}) as hub:
        write(tmp_path / "traffic.json", {"says": {"aliases": {"now": "1"}}})
        traffic_of(hub).look()
        run = ("says", tmp_path / "in.jsonl", "-o", out, "--version", "now", "--url", hub.url)
        process = await start(*run)
        await eventually(lambda: state.exists() and json.loads(state.read_text())["rows"])
        write(tmp_path / "traffic.json", {"says": {"aliases": {"now": "2"}}})
        traffic_of(hub).look()
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        code, err = await say(*run)
        assert (code, Counter(row["version"] for row in lines(out))) == (0, {1: count}), err


async def test_an_output_called_error_is_no_failure(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "says", CONFIG, {"1/model.py": SAYS})
    (tmp_path / "in.jsonl").write_text('{"x": [1]}\n{"x": [-1]}\n')
    out = tmp_path / "out.jsonl"
    async with running_hub(tmp_path / "models") as hub:
        code, err = await say("says", tmp_path / "in.jsonl", "-o", out, "--url", hub.url)
    assert (code, "1 rows have an error; see the column 'score_error'" in err) == (1, True)
    first, second = lines(out)
    assert first == {"version": 1, "error": 1.0}
    assert list(second) == ["score_error"]
    assert "below 0" in second["score_error"]


async def test_a_name_that_comes_twice_in_a_csv_file_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "says", CONFIG, {"1/model.py": SAYS})
    (tmp_path / "in.csv").write_text("x,y,x\n1,2,3\n")
    async with running_hub(tmp_path / "models") as hub:
        code, err = await say("says", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "--url", hub.url)
    assert code == 2
    assert "in.csv, line 1: the column 'x' comes twice, expected each name once" in err
