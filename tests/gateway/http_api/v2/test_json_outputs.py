"""Outputs whose BYTES are JSON (`json_outputs` of a config): values in bodies of JSON, bytes everywhere else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from inferencehub.core.values.tensors import unpack_bytes
from inferencehub.gateway.json_codec.binary import JSON_SIZE
from tests.hub import Hub, eventually, running_gateway, running_hub, running_pod, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAYS = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"found": inputs["text"], "plain": inputs["text"]}
"""
STREAMS = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        for text in inputs["text"]:
            yield {"found": [text], "plain": [text]}
"""
CONFIG = """backend: "python" %s
    input { name: "text" data_type: TYPE_STRING dims: [ %s ] }
    output { name: "found" data_type: TYPE_STRING dims: [ %s ] }
    output { name: "plain" data_type: TYPE_STRING dims: [ %s ] }
    parameters { key: "json_outputs" value { string_value: "%s" } }"""
WRITTEN = '{\n  "box": [1, 2.50],\n  "big": 123456789012345678901234567890, "none": null}'
VALUE = {"box": [1, 2.5], "big": 123456789012345678901234567890, "none": None}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models: Path = tmp_path_factory.mktemp("models")
    rows, free = CONFIG % ("max_batch_size: 8", *"111", "found"), "-1"
    write_model(models, "says", rows, {"1/model.py": SAYS})
    decoupled = "model_transaction_policy { decoupled: true }"
    write_model(models, "streams", CONFIG % (decoupled, free, free, free, "found"), {"1/model.py": STREAMS})
    for name, listed in (("unknown", "found, seen"), ("several", " found ,plain,")):
        write_model(models, name, CONFIG % ("", free, free, free, listed), {"1/model.py": SAYS})
    async with running_hub(models, hold_s=20.0) as hub:
        yield hub


def asked(*texts: str) -> dict[str, Any]:
    """A request of /v2."""
    text = {"name": "text", "datatype": "BYTES", "shape": [len(texts), 1], "data": list(texts)}
    return {"inputs": [text]}


async def test_they_are_values_in_json(hub: Hub) -> None:
    status, answer, _ = await hub.post("/v2/models/says/infer", asked(WRITTEN, ' "a" ', "[null]"))
    assert status == 200, answer
    found, plain = answer["outputs"]
    assert (found["name"], found["datatype"], found["shape"]) == ("found", "BYTES", [3, 1])
    assert found["data"] == [VALUE, "a", [None]]
    assert plain["data"] == [WRITTEN, ' "a" ', "[null]"]


async def test_numbers_stay_as_the_model_wrote_them(hub: Hub) -> None:
    async with hub.client.post(f"{hub.url}/v2/models/says/infer", json=asked(WRITTEN)) as answer:
        assert '[{"box":[1,2.50],"big":123456789012345678901234567890,"none":null}]' in await answer.text()


async def test_generate_and_v1_have_them_too(hub: Hub) -> None:
    _, answer, _ = await hub.post("/v2/models/says/generate", {"text": WRITTEN})
    assert (answer["found"], answer["plain"]) == (VALUE, WRITTEN)
    _, answer, _ = await hub.post("/v1/models/says:predict", {"instances": [[WRITTEN], ["3"]]})
    assert answer["predictions"] == [
        {"found": [VALUE], "plain": [WRITTEN]},
        {"found": [3], "plain": ["3"]},
    ]


async def test_several_outputs_may_be_json(hub: Hub) -> None:
    text = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["{}"]}
    _, answer, _ = await hub.post("/v2/models/several/infer", {"inputs": [text]})
    assert [one["data"] for one in answer["outputs"]] == [[{}], [{}]]


async def test_events_have_them_on_one_line(hub: Hub) -> None:
    body = {"text": [WRITTEN, "NaN", "4"]}
    async with hub.client.post(f"{hub.url}/v2/models/streams/generate_stream", json=body) as answer:
        first, last = [event for event in (await answer.text()).split("\n\n") if event]
    assert json.loads(first.removeprefix("data: "))["found"] == VALUE
    assert "element 0 of output 'found' is no JSON" in json.loads(last.removeprefix("data: "))["error"]


@pytest.mark.parametrize("text", ["NaN", "", "{} {}", "[1,]", "{'a': 1}", "[" * 200_000 + "]" * 200_000])
async def test_what_is_no_json_is_an_error_that_says_so(hub: Hub, text: str) -> None:
    for path, body in (
        ("/v2/models/says/infer", asked("1", text)),
        ("/v2/models/says/generate", {"text": [["1"], [text]]}),
        ("/v1/models/says:predict", {"instances": [["1"], [text]]}),
    ):
        status, answer, _ = await hub.post(path, body)
        assert status == 500, (path, answer)
        said = "model 'says': element 1 of output 'found' is no JSON, as its config says: "
        assert answer["error"].startswith(said), answer


async def test_raw_outputs_are_as_they_were(hub: Hub) -> None:
    body = {**asked("{", WRITTEN), "parameters": {"binary_data_output": True}}
    async with hub.client.post(f"{hub.url}/v2/models/says/infer", json=body) as answer:
        size = int(answer.headers[JSON_SIZE.decode()])
        content = await answer.read()
    [first, _] = json.loads(content[:size])["outputs"]
    length = first["parameters"]["binary_data_size"]
    assert unpack_bytes(content[size : size + length]) == [b"{", WRITTEN.encode()]


async def test_the_config_may_only_list_outputs_of_bytes(hub: Hub) -> None:
    _, answer, _ = await hub.get("/v2/models")
    [unknown] = [model for model in answer["models"] if model["name"] == "unknown"]
    expected = "config.pbtxt: json_outputs lists 'seen', expected of: 'found', 'plain'"
    assert unknown["reason"] == expected


async def test_each_pod_s_outputs_are_what_its_own_config_says(tmp_path: Path) -> None:
    """As while a config that lists one is rolled out: the old pods' text need not be JSON."""
    free = "-1"
    for folder, listed, model in (
        ("old", "", SAYS),
        ("new", "found", SAYS.replace('"found": inputs["text"]', '"found": [b"[1]"]')),
    ):
        config = CONFIG % ("", free, free, free, listed)
        write_model(tmp_path / folder, "m", config, {"1/model.py": model})
    async with running_pod(tmp_path / "old") as old, running_pod(tmp_path / "new") as new:
        backends = (f"127.0.0.1:{old.port}", f"127.0.0.1:{new.port}")
        async with running_gateway(backends) as gateway, aiohttp.ClientSession() as client:
            await eventually(lambda: all(pod.described for pod in gateway.fleet.pods.values()))
            both = Hub(gateway, [], client)
            text = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["no JSON"]}
            found = set()
            for _ in range(20):
                status, answer, _ = await both.post("/v2/models/m/infer", {"inputs": [text]})
                found.add(str(answer["outputs"][0]["data"]) if status == 200 else answer["error"])
    assert found == {"['no JSON']", "[[1]]"}
