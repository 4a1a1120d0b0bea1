"""The generate extension: inputs by name in, outputs by name out, as one answer or as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inferencehub.gateway.http_api.routes import endpoints
from tests.hub import Hub, eventually, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECOUPLED = "model_transaction_policy { decoupled: true }"
COUNTER = """
import os, time, numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.log = os.open(parameters["log"], os.O_CREAT | os.O_WRONLY)

    def predict(self, inputs, parameters):
        count, rest = int(inputs["count"].ravel()[0]), inputs.get("text_input")
        word = rest.ravel()[0].decode() if rest is not None else ""
        shape = (1, 1) if inputs["count"].ndim == 2 else (1,)
        made = 0
        try:
            for made in range(1, abs(count) + 1):
                self.say(made)
                text = parameters.get("prefix", "") + word + str(made)
                yield {"text_output": np.array(text.encode(), dtype=object).reshape(shape)}
                time.sleep(parameters.get("pause_s", 0))
            if count < 0:
                raise ValueError("it is below zero")
        finally:
            self.say("closed")

    def say(self, word):
        os.pwrite(self.log, f"{word:<10}".encode(), 0)
"""
PLAIN = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs, parameters):
        assert "id" not in parameters
        return {"sum": inputs["a"].sum(axis=None, keepdims=False).reshape(1), "same": inputs["a"], "b": inputs["b"]}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")
    for name, more in (("counter", ""), ("batches", "max_batch_size: 4")):
        config = f"""backend: "python" {DECOUPLED} {more}
            input {{ name: "count" data_type: TYPE_INT32 dims: [1] }}
            input {{ name: "text_input" data_type: TYPE_STRING dims: [1] optional: true }}
            output {{ name: "text_output" data_type: TYPE_STRING dims: [1] }}
            parameters {{ key: "log" value {{ string_value: "{models / name}.log" }} }}"""
        write_model(models, name, config, {"1/model.py": COUNTER})
    config = """backend: "python"
        input { name: "a" data_type: TYPE_FP32 dims: [-1, 2] }
        input { name: "b" data_type: TYPE_BOOL dims: [-1] }
        output { name: "sum" data_type: TYPE_FP32 dims: [1] }
        output { name: "same" data_type: TYPE_FP32 dims: [-1, 2] }
        output { name: "b" data_type: TYPE_BOOL dims: [-1] }"""
    write_model(models, "plain", config, {"1/model.py": PLAIN})
    async with running_hub(models, hold_s=20.0) as hub:
        hub.logs = models  # type: ignore[attr-defined]
        yield hub


async def generate(hub: Hub, model: str, body: Any) -> tuple[int, Any]:
    """Status and body of `generate`."""
    status, answer, _ = await hub.post(f"/v2/models/{model}/generate", body)
    return status, answer


async def events(hub: Hub, model: str, body: Any) -> list[Any]:
    """The events of `generate_stream`, which must begin well."""
    async with hub.client.post(f"{hub.url}/v2/models/{model}/generate_stream", json=body) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        if body.get("count"):
            assert answer.headers["x-served-by"] == f"127.0.0.1:{hub.pods[0].port}"
        text = await answer.text()
    assert text == "" or text.endswith("\n\n")
    return [json.loads(block.removeprefix("data: ")) for block in text.split("\n\n")[:-1]]


def made(hub: Hub, model: str) -> str:
    """What the model wrote last."""
    file: Path = hub.logs / f"{model}.log"  # type: ignore[attr-defined]
    return file.read_text().strip()


@pytest.mark.parametrize("model", ["counter", "batches"])
async def test_answers_are_events_in_order(hub: Hub, model: str) -> None:
    body = {"count": 3, "text_input": "żółw\n", "prefix": ">", "id": "an-id"}
    assert await events(hub, model, body) == [
        {"id": "an-id", "model_name": model, "model_version": "1", "text_output": f">żółw\n{number}"}
        for number in (1, 2, 3)
    ]
    assert await events(hub, model, {"count": [0]}) == []
    (one,) = await events(hub, model, {"count": 1, "parameters": {"prefix": "p"}})
    assert one["text_output"] == "p1"


async def test_an_error_behind_answers_is_an_event_and_one_before_them_an_answer(hub: Hub) -> None:
    *right, last = await events(hub, "counter", {"count": -2})
    assert [event["text_output"] for event in right] == ["1", "2"]
    assert last == {"error": "model 'counter': it is below zero"}
    for body, status, said in (
        ({"count": "x"}, 400, "input 'count': expected data to be an array of integers"),
        ({}, 400, "model 'counter': input 'count' is missing"),
        ({"count": 1, "other": {"a": 1}}, 400, "'other': expected an input of the model, or a parameter"),
        ({"count": 1, "parameters": 5}, 400, "'parameters': expected an object of parameters"),
        ({"count": 1, "id": 5}, 400, "id: expected a string, got 5"),
        ({"count": [1, 2]}, 400, "model 'counter': input 'count' has shape [2], expected [1]"),
        ({"count": 1, "hub_members": "x"}, 400, "parameter 'hub_members' is reserved"),
        ([1], 400, "the body is not as expected"),
        ("no JSON", 400, "the body is not as expected"),
    ):
        for path in ("generate", "generate_stream"):
            answer, text, _ = await hub.post(f"/v2/models/counter/{path}", body)
            assert (answer, text["error"][: len(said)]) == (status, said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"count":1,"t":NaN}', "'t': expected an input of the model, or a parameter"),
        (b'{"count":1,"parameters":{"a":NaN}}', "'parameters': expected an object of parameters"),
        (b'{"count":1,"t":"\xff"}', "expected UTF-8 text, but byte 0xff in the body is none"),
        (b'{"count":1,"id":"\xff"}', "expected UTF-8 text, but byte 0xff in the body is none"),
        (b'{"count":1,"id":1e999}', "id: expected a string, got 1e999"),
        (b'{"count":1,"id":{"a":1e999}}', "id: expected a string, got "),
        (b'{"count":NaN}', "input 'count': expected data to be an array of integers"),
    ],
)
async def test_what_json_cannot_say_is_the_callers_mistake(hub: Hub, body: bytes, said: str) -> None:
    async with hub.client.post(f"{hub.url}/v2/models/counter/generate", data=body) as answer:
        assert answer.status == 400
        error = (await answer.json())["error"]
    assert error.startswith(said)


async def test_null_is_as_if_it_were_left_out(hub: Hub) -> None:
    body = {"count": 1, "text_input": None, "id": None, "parameters": None, "prefix": None}
    assert await generate(hub, "counter", body) == (
        200,
        {"model_name": "counter", "model_version": "1", "text_output": "1"},
    )


async def test_exactly_one_answer_is_an_answer(hub: Hub) -> None:
    assert await generate(hub, "counter", {"count": 1, "text_input": "a"}) == (
        200,
        {"model_name": "counter", "model_version": "1", "text_output": "a1"},
    )
    status, body = await generate(hub, "counter", {"count": 2})
    assert (status, body["error"][:50]) == (501, "model 'counter' gives several answers, and this ca")
    assert await generate(hub, "counter", {"count": 0}) == (
        500,
        {"error": "model 'counter' gave no answer, expected exactly one"},
    )
    status, body = await generate(hub, "counter", {"count": -1})
    assert (status, body["error"]) == (400, "model 'counter': it is below zero")
    large = "x" * 200_000  # more than a window
    assert (await generate(hub, "counter", {"count": 1, "text_input": large}))[1][
        "text_output"
    ] == large + "1"


async def test_a_model_with_one_answer_has_both(hub: Hub) -> None:
    right = {"model_name": "plain", "model_version": "1", "sum": 10.0, "same": [1, 2, 3, 4], "b": True}
    for a in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        assert await generate(hub, "plain", {"a": a, "b": True, "id": "i"}) == (200, {"id": "i"} | right)
        assert await events(hub, "plain", {"a": a, "b": True}) == [right]
    assert await generate(hub, "plain", {"a": ["NaN", 1], "b": [True, False], "c": None}) == (
        200,
        {**right, "sum": "NaN", "same": ["NaN", 1.0], "b": [True, False]},
    )
    status, body = await generate(hub, "plain", {"a": [1, 2, 3], "b": True})
    assert (status, body["error"]) == (
        400,
        "input 'a' has shape [-1, 2], expected nested arrays, got a flat one of 3",
    )


async def test_the_first_event_comes_before_the_second_answer_is_made(hub: Hub) -> None:
    body = {"count": 3, "parameters": {"pause_s": 0.5}}
    async with hub.client.post(f"{hub.url}/v2/models/counter/generate_stream", json=body) as answer:
        assert b'"text_output":"1"' in await answer.content.readuntil(b"\n\n")
        assert made(hub, "counter") == "1"
        assert b'"text_output":"2"' in await answer.content.readuntil(b"\n\n")
        assert made(hub, "counter") == "2"


async def test_a_reader_that_stops_holds_the_model_and_one_that_hangs_up_closes_it(hub: Hub) -> None:
    body = json.dumps({"count": 10_000_000, "text_input": "x" * 1000}).encode()
    port = int(hub.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(
        b"POST /v2/models/counter/generate_stream HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        % len(body)
    )
    writer.write(body)

    async def rests() -> bool:
        before = made(hub, "counter")
        await asyncio.sleep(0.5)
        return before == made(hub, "counter") and before.isdigit()

    async with asyncio.timeout(30):
        while not await rests():
            pass
    resting = int(made(hub, "counter"))
    assert resting < 20_000, "what sockets hold, and a window"
    async with asyncio.timeout(30):
        while int(made(hub, "counter")) == resting:
            await reader.read(2**16)
    writer.transport.abort()
    await eventually(lambda: made(hub, "counter") == "closed")
    assert len(await events(hub, "counter", {"count": 2})) == 2, "the instance is free again"


async def test_a_comment_keeps_a_silent_stream_open(hub: Hub) -> None:
    models: Path = hub.logs  # type: ignore[attr-defined]
    async with running_hub(models) as own:
        own.gateway.edge.find = endpoints(own.gateway.calls, keep_alive_s=0.1)
        body = {"count": 2, "pause_s": 0.5}
        async with own.client.post(f"{own.url}/v2/models/counter/generate_stream", json=body) as answer:
            *blocks, end = (await answer.text()).split("\n\n")
    first, second = [place for place, block in enumerate(blocks) if block != ":"]
    assert (blocks[first][-4:], blocks[second][-4:], end) == ('"1"}', '"2"}', "")
    assert second > first + 1


async def test_two_hundred_streams_at_once_are_whole_and_not_mixed(hub: Hub) -> None:
    async def ask(number: int) -> list[str]:
        body = {"count": 100, "text_input": f"{number}-"}
        return [event["text_output"] for event in await events(hub, "counter", body)]

    answers = await asyncio.gather(*[ask(number) for number in range(200)])
    assert answers == [[f"{number}-{n}" for n in range(1, 101)] for number in range(200)]


async def test_a_path_takes_posts_only_and_models_must_be_known(hub: Hub) -> None:
    async with hub.client.get(f"{hub.url}/v2/models/counter/generate_stream") as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
    status, body, _ = await hub.post("/v2/models/counter/versions/7/generate_stream", {"count": 1})
    assert status == 404
    assert "'7'" in body["error"]
    assert [e["text_output"] for e in await events(hub, "counter/versions/1", {"count": 1})] == ["1"]
