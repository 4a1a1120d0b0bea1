"""The generate extension: inputs by name in, outputs by name out, as one answer or as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inferencehub.gateway.http_api.routes import endpoints
from tests.hub import Hub, running_hub, write_model
from tests.onnx_files import FLOAT, INT64, one_node, tensor_type
from tests.several_answers import DECOUPLED, counting_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAIN = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs, parameters):
        assert "id" not in parameters
        return {"sum": inputs["a"].sum(axis=None, keepdims=False).reshape(1), "same": inputs["a"], "b": inputs["b"]}
"""
SHAPE = """
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"seen": np.tile(np.array(inputs["a"].shape), (len(inputs["a"]), 1))}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")
    counting_model(models)
    counting_model(models, "batches", more=f"{DECOUPLED} max_batch_size: 4")
    config = """backend: "python"
        input { name: "a" data_type: TYPE_FP32 dims: [-1, 2] }
        input { name: "b" data_type: TYPE_BOOL dims: [-1] }
        output { name: "sum" data_type: TYPE_FP32 dims: [1] }
        output { name: "same" data_type: TYPE_FP32 dims: [-1, 2] }
        output { name: "b" data_type: TYPE_BOOL dims: [-1] }"""
    write_model(models, "plain", config, {"1/model.py": PLAIN})
    pairs = """backend: "python" max_batch_size: 4
        input { name: "a" data_type: TYPE_FP32 dims: [-1, 2] }
        output { name: "seen" data_type: TYPE_INT64 dims: [-1] }"""
    write_model(models, "pairs", pairs, {"1/model.py": SHAPE})
    kind = tensor_type(FLOAT, None)
    write_model(
        models, "any", "", {"1/model.onnx": one_node("Shape", {"a": kind}, tensor_type(INT64, ["n"]))}
    )
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
        ({"id": "7", "parameters": {"Count": 3}}, 400, "model 'counter': input 'count' is missing"),
        (
            {"Count": 3, "parameters": {"x": 1}},
            400,
            "model 'counter': input 'count' is missing, expected 'count', 'text_input'; 'Count' came and was taken for a parameter, since a "
            "key is an input only if its name is exactly that of the input",
        ),
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


@pytest.mark.parametrize(
    ("model", "a", "shape"),
    [
        ("pairs", [1, 2, 3, 4], [1, 2, 2]),
        ("pairs", [[1, 2], [3, 4], [5, 6]], [1, 3, 2]),
        ("pairs", [[[1, 2], [3, 4], [5, 6]]], [1, 3, 2]),
        ("any", 5, []),
        ("any", [1, 2, 3], [3]),
        ("any", [], [0]),
        ("any", [[[1], [2]]], [1, 2, 1]),
    ],
)
async def test_a_row_has_the_shape_of_its_arrays(hub: Hub, model: str, a: Any, shape: list[int]) -> None:
    status, answer = await generate(hub, model, {"a": a})
    assert status == 200, answer
    assert answer["seen" if model == "pairs" else "y"] == (shape if len(shape) != 1 else shape[0])


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


async def test_a_path_takes_posts_only_and_models_must_be_known(hub: Hub) -> None:
    async with hub.client.get(f"{hub.url}/v2/models/counter/generate_stream") as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
    status, body, _ = await hub.post("/v2/models/counter/versions/7/generate_stream", {"count": 1})
    assert status == 404
    assert "'7'" in body["error"]
    assert [e["text_output"] for e in await events(hub, "counter/versions/1", {"count": 1})] == ["1"]
