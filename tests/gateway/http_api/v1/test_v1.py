"""The V1 protocol, as KServe's client uses it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from tests.hub import Hub, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

TWICE = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"] * 2}
"""
BOTH = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        a, t = inputs["a"], inputs["t"]
        return {"sum": a.sum(axis=1, keepdims=True), "echo": t, "image": a.reshape(-1, 1, 2)}
"""
SHAPED = "input 'x': expected data to be an array of numbers, flat or nested as shape [%d, 2] says: "
TOTAL = TWICE.replace('{"y": inputs["x"] * 2}', '{"y": inputs["x"].sum().reshape(1)}')


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")

    def add(name: str, source: str, config: str) -> None:
        write_model(models, name, f'backend: "python" {config}', {"1/model.py": source})

    x, y = (
        'input { name: "x" data_type: TYPE_FP32 dims: [%s] }',
        'output { name: "y" data_type: TYPE_FP32 dims: [%s] }',
    )
    add("rows", TWICE, f"max_batch_size: 8 {x % '2'} {y % '2'}")
    add("plain", TWICE, f"{x % '-1'} {y % '-1'}")
    add("one", TWICE, f"max_batch_size: 8 {x % '1'} {y % '1'}")
    add("any", TWICE, f"max_batch_size: 8 {x % '-1'} {y % '-1'}")
    add("total", TOTAL, f"{x % '-1'} {y % '1'}")
    add(
        "both", BOTH,
        """max_batch_size: 8
        input { name: "a" data_type: TYPE_INT32 dims: [2] } input { name: "t" data_type: TYPE_STRING dims: [1] }
        output { name: "sum" data_type: TYPE_INT32 dims: [1] } output { name: "echo" data_type: TYPE_STRING dims: [1] }
        output { name: "image" data_type: TYPE_INT32 dims: [1, 2] }""",
    )  # fmt: skip
    add(
        "text",
        TWICE.replace('inputs["x"] * 2', 'inputs["x"]'),
        (x % "-1" + y % "-1").replace("FP32", "STRING"),
    )
    for name, dims in (("texts", "1"), ("any-texts", "-1"), ("deep-texts", "1, -1")):
        spec = (x + y) % (dims, dims)
        add(name, TWICE.replace("* 2", "+ b'!'"), f"max_batch_size: 8 {spec.replace('FP32', 'STRING')}")
    add("broken", "no Python", f"{x % '-1'} {y % '-1'}")
    async with running_hub(models, hold_s=0.5) as hub:
        yield hub


async def predict(hub: Hub, model: str, instances: Any, **more: Any) -> tuple[int, Any]:
    """Status, and the predictions or the error."""
    status, body, _ = await hub.post(f"/v1/models/{model}:predict", {"instances": instances, **more})
    return status, body.get("predictions", body.get("error"))


async def test_rows_of_the_only_input(hub: Hub) -> None:
    assert await predict(hub, "rows", [[1, 2], [3, 4.5]]) == (200, [[2, 4], [6, 9]])
    assert await predict(hub, "rows", [{"x": [1, 2]}], signature_name="serving_default") == (200, [[2, 4]])
    assert await predict(hub, "plain", [1, 2, 3]) == (200, [2, 4, 6])
    assert await predict(hub, "plain", ["NaN", 1e38]) == (200, ["NaN", pytest.approx(2e38)])
    assert await predict(hub, "rows/versions/1", [[1, 2]]) == (200, [[2, 4]])
    raw = b'{"instances":[[NaN,1]]}'
    async with hub.client.post(f"{hub.url}/v1/models/rows:predict", data=raw) as answer:
        assert (await answer.json()) == {"predictions": [["NaN", 2.0]]}


async def test_objects_for_several_inputs_and_outputs(hub: Hub) -> None:
    instances = [{"a": [1, 2], "t": ["x"]}, {"t": ["żółw"], "a": [3, 4]}]
    assert await predict(hub, "both", instances) == (
        200,
        [{"sum": [3], "echo": ["x"], "image": [[1, 2]]}, {"sum": [7], "echo": ["żółw"], "image": [[3, 4]]}],
    )


async def test_bytes_are_text_or_base64(hub: Hub) -> None:
    odd = {"b64": b64encode(b"\xff\x00").decode()}
    assert await predict(hub, "text", ["a", "ż"]) == (200, ["a", "ż"])
    assert await predict(hub, "text", ["a", odd]) == (200, ["a", odd])
    assert await predict(hub, "text", [odd, {"b64": b64encode(b"text").decode()}]) == (200, [odd, "text"])
    assert await predict(hub, "text", [{"x": "a"}]) == (200, ["a"])


@pytest.mark.parametrize(
    ("model", "row"),
    [("texts", lambda e: [e]), ("any-texts", lambda e: [e]), ("deep-texts", lambda e: [[e]])],
)
async def test_a_row_of_one_element_may_be_the_element(
    hub: Hub, model: str, row: Callable[[Any], Any]
) -> None:
    """As clients of TensorFlow Serving send texts; the values are those of V2."""
    texts = ["a b", "", "żółw", '"b64"', "a\u0000"]
    tensor = {"name": "x", "datatype": "BYTES", "shape": np.shape([row("")] * 5), "data": texts}
    _, answer, _ = await hub.post(f"/v2/models/{model}/infer", {"inputs": [tensor]})
    assert answer["outputs"][0]["data"] == [f"{text}!" for text in texts]
    right = (200, [row(f"{text}!") for text in texts])
    for instances in (texts, [row(text) for text in texts]):
        assert await predict(hub, model, instances) == right
        assert await predict(hub, model, [{"x": instance} for instance in instances]) == right
    odd = {"b64": b64encode(b"\xff").decode()}
    seen = {"b64": b64encode(b"\xff!").decode()}
    assert await predict(hub, model, ["a", odd]) == (200, [row("a!"), row(seen)])
    status, said = await predict(hub, model, ["a", row("b")])
    assert (status, said[:60]) == (400, "input 'x': expected data to be an array of strings, flat or ")


async def test_numbers_may_be_elements_too_and_rows_of_several_may_not(hub: Hub) -> None:
    instances = [{"a": [1, 2], "t": "x"}, {"t": "y", "a": [3, 4]}]
    status, found = await predict(hub, "both", instances)
    assert (status, [one["echo"] for one in found]) == (200, [["x"], ["y"]])
    assert await predict(hub, "one", [1, 2.5]) == (200, [[2], [5]])
    said = "model 'rows': input 'x' has shape [2], expected [-1, 2] where -1 is any size"
    assert await predict(hub, "rows", [1, 2]) == (400, said)


async def test_numbers_that_may_be_one_row_are_refused(hub: Hub) -> None:
    """Whoever forgets the array of a row with three numbers would get the answers of three rows."""
    assert await predict(hub, "any", [[1, 2, 3]]) == (200, [[2, 4, 6]])
    said = "model 'any': input 'x' has shape [3], expected [-1, -1] where -1 is any size"
    assert await predict(hub, "any", [1, 2, 3]) == (400, said)


async def test_many_numbers_come_back_as_they_are(hub: Hub) -> None:
    numbers = np.random.default_rng(7).normal(size=200_000).astype(np.float32)
    status, found = await predict(hub, "plain", numbers.tolist())
    assert status == 200
    assert (np.array(found, np.float32) == 2 * numbers).all()


@pytest.mark.parametrize(
    ("model", "body", "status", "said"),
    [
        ("rows", {"instances": []}, 400, "instances: expected at least one, got an empty array"),
        ("rows", {"instances": [[1, 2], [3]]}, 400, f"{SHAPED % 2}data[1]: expected an array of 2, got an array of 1"),
        ("rows", {"instances": [[3], [1, 2]]}, 400, f"{SHAPED % 2}data[0]: expected an array of 2, got an array of 1"),
        ("rows", {"instances": [[1, 2, 3]]}, 400, f"{SHAPED % 1}data[0]: expected an array of 2, got an array of 3"),
        ("rows", {"instances": [{"x": [1, 2]}, {"x": [1]}]}, 400, f"{SHAPED % 2}data[1]: expected an array of 2, got an array of 1"),
        ("rows", {"instances": [[[1, 2]]]}, 400, "model 'rows': input 'x' has shape [1, 1, 2], expected [-1, 2]"),
        ("rows", {"instances": [[1, "a"]]}, 400, "input 'x': expected data to be an array of numbers"),
        ("rows", {"inputs": [[1, 2]]}, 400, "the body is not as expected"),
        ("rows", {"instances": [{"y": [1, 2]}]}, 400, "model 'rows': unknown input 'y', expected ['x']"),
        ("rows", {"instances": [{"x": [1, 2]}, 5]}, 400, "instance 1: expected an object with a value for each"),
        ("both", {"instances": [[1, 2]]}, 400, "model 'both' has the inputs ['a', 't'], expected an object"),
        ("both", {"instances": [{"a": [1, 2]}]}, 400, "model 'both': input 't' is missing"),
        ("both", {"instances": [{"a": [1, 2], "t": ["x"]}, {"a": [1, 2]}]}, 400, "instance 1 has the inputs ['a']"),
        ("text", {"instances": [{"b64": "?"}]}, 400, "input 'x': expected a text or an object with base64"),
        ("total", {"instances": [1, 2]}, 501, "model 'total': output 'y' has shape [1], expected a row for each of 2"),
        ("absent", {"instances": [1]}, 404, "model 'absent' is unknown"),
    ],
)  # fmt: skip
async def test_what_cannot_be_mapped_is_refused(
    hub: Hub, model: str, body: Any, status: int, said: str
) -> None:
    answer, found, _ = await hub.post(f"/v1/models/{model}:predict", body)
    assert (answer, found["error"][: len(said)]) == (status, said)


@pytest.mark.parametrize(
    ("instances", "predictions"),
    [
        ('[{"x":[0.5,Infinity]},{"x":[1,2]}]', [[1.0, "Infinity"], [2.0, 4.0]]),
        ('[{"x":[1,2]},{"x":[-Infinity,NaN]}]', [[2.0, 4.0], ["-Infinity", "NaN"]]),
    ],
)
async def test_objects_may_hold_numbers_that_json_does_not_have(
    hub: Hub, instances: str, predictions: list[Any]
) -> None:
    body = b'{"instances":%b}' % instances.encode()
    assert (await hub.post("/v1/models/rows:predict", body))[:2] == (200, {"predictions": predictions})
    body = b'{"instances":[{"x":[1,2]},NaN]}'
    status, answer, _ = await hub.post("/v1/models/rows:predict", body)
    assert (status, answer["error"][:32]) == (400, "instance 1: expected an object w")


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[{"\xff":[1,2]}]}',
        b'{"instances":[{"x":[1,2]},{"\xff":[1,2]}]}',
        b'{"instances":[[1,"\xff"]]}',
        b'{"instances":[{"b64":"","\xff":1}]}',
    ],
)
async def test_bytes_that_are_no_text_are_the_callers_mistake(hub: Hub, body: bytes) -> None:
    status, answer, _ = await hub.post("/v1/models/rows:predict", body)
    assert (status, answer) == (
        400,
        {"error": "expected UTF-8 text, but byte 0xff in the body is none"},
    )


async def test_models_and_their_readiness(hub: Hub) -> None:
    for path, ready in (("rows", True), ("rows/versions/1", True), ("broken", False)):
        status, body, _ = await hub.get(f"/v1/models/{path}")
        assert (status, body["name"], body["ready"]) == (200, path.split("/")[0], ready)
    assert (await hub.get("/v1/models/absent"))[0] == 404
    status, body, _ = await hub.get("/v1/models")
    assert status == 200
    assert sorted(body["models"]) == [
        "any",
        "any-texts",
        "both",
        "deep-texts",
        "one",
        "plain",
        "rows",
        "text",
        "texts",
        "total",
    ]


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/json, text/plain", ""])
async def test_a_client_that_is_no_browser_finds_out_that_the_server_lives(hub: Hub, accept: str) -> None:
    """KServe's client accepts everything, as httpx does by itself, and follows no redirect."""
    async with hub.client.get(hub.url, headers={"accept": accept}, allow_redirects=False) as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "alive"})
        assert answer.headers["vary"] == "accept"
