"""The list of models has one body for OpenAI's clients and those of the V1 protocol; errors are those of each path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import time

import openai
import pytest
import pytest_asyncio

from tests.gateway.http_api.openai.scripted import scripted
from tests.hub import Hub, mock_model, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

TWICE = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"] * 2}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    scripted(models, "chat")
    mock_model(models, "quick")
    config = 'backend: "python" input { name: "x" data_type: TYPE_FP32 dims: [1] } output { name: "y" data_type: TYPE_FP32 dims: [1] }'
    rows = 'backend: "python" max_batch_size: 8 ' + "".join(
        f'{way} {{ name: "{name}" data_type: TYPE_FP32 dims: [2] }} '
        for way, name in (("input", "x"), ("output", "y"))
    )
    write_model(models, "rows", rows, {"1/model.py": TWICE})
    write_model(models, "broken", config, {"1/model.py": "no Python"})
    async with running_hub(models, hold_s=0.5) as hub:
        yield hub


async def test_the_list_is_both_kinds_of_lists(hub: Hub, client: openai.AsyncOpenAI) -> None:
    listed = [model async for model in await client.models.list()]
    assert sorted(model.id for model in listed) == ["chat", "quick", "rows"]
    assert {(model.object, model.owned_by) for model in listed} == {("model", "inferencehub")}
    assert all(0 <= time() - model.created < 600 for model in listed)
    status, body, _ = await hub.get("/v1/models")
    assert (status, body["object"]) == (200, "list")
    assert body["models"] == [model["id"] for model in body["data"]] == [model.id for model in listed]


async def test_a_model_is_both_kinds_of_models(hub: Hub, client: openai.AsyncOpenAI) -> None:
    model = await client.models.retrieve("quick")
    assert (model.id, model.object, model.owned_by) == ("quick", "model", "inferencehub")
    for path, ready in (("quick", True), ("quick/versions/1", True), ("broken", False)):
        _, body, _ = await hub.get(f"/v1/models/{path}")
        name = path.split("/")[0]
        assert body == {
            "id": name, "object": "model", "created": model.created, "owned_by": "inferencehub", "name": name,
            "ready": ready,
        }  # fmt: skip
    with pytest.raises(openai.NotFoundError, match="model 'absent' is unknown"):
        await client.models.retrieve("absent")
    for path in ("absent", "chat/versions/7"):
        status, body, _ = await hub.get(f"/v1/models/{path}")
        assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")


async def test_errors_are_those_of_each_path(hub: Hub) -> None:
    said = "model 'absent' is unknown, expected one of: broken, chat, quick, rows"
    found = {
        path: await hub.post(path, {"model": "absent", **body})
        for path, body in (
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
            ("/v1/completions", {"prompt": "a"}),
            ("/v1/embeddings", {"input": "a"}),
        )
    }
    error = {"message": said, "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    assert {path: answer[:2] for path, answer in found.items()} == dict.fromkeys(
        found, (404, {"error": error})
    )
    status, body, _ = await hub.post("/v1/models/absent:predict", {"instances": [1]})
    assert (status, body) == (404, {"error": said})


async def test_paths_that_are_not_there_say_so_to_the_client(hub: Hub, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        await client.responses.create(model="chat", input="hello")
    assert raised.value.body == {
        "message": "there is nothing at '/v1/responses', expected one of the paths that /docs shows",
        "type": "invalid_request_error", "param": None, "code": "unknown_url",
    }  # fmt: skip
    with pytest.raises(openai.NotFoundError) as raised:
        await client.models.retrieve("a/b")
    assert raised.value.body == {
        "message": "model 'a/b' is unknown, expected a name without '/'",
        "type": "invalid_request_error", "param": "model", "code": "model_not_found",
    }  # fmt: skip
    with pytest.raises(openai.APIStatusError) as wrong:
        await client.models.delete("chat")
    assert (wrong.value.status_code, wrong.value.code, wrong.value.response.headers["allow"]) == (
        405, "wrong_method", "GET, HEAD",
    )  # fmt: skip
    assert isinstance(wrong.value.body, dict)
    assert wrong.value.body["message"] == "'/v1/models/chat' does not take DELETE, expected GET, HEAD"


async def test_errors_of_v1_and_v2_stay_sentences(hub: Hub) -> None:
    for path in ("/v1/models/a/b:predict", "/v1/models/quick:explain", "/v1", "/v2/nothing", "/v10/x"):
        status, body, _ = await hub.post(path, {})
        assert status in (404, 405)
        assert isinstance(body["error"], str)
    status, body, _ = await hub.get("/v1/models/quick:predict")
    assert (status, body) == (405, {"error": "'/v1/models/quick:predict' does not take GET, expected POST"})


async def test_calls_of_both_protocols_at_one_gateway(hub: Hub, client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "hello"}]
    )
    assert answer.choices[0].message.content == "hello"
    status, found, _ = await hub.post("/v1/models/rows:predict", {"instances": [[1, 2], [3, 4]]})
    assert (status, found) == (200, {"predictions": [[2, 4], [6, 8]]})
