"""What the gateway says of itself and of its models, and what it says of those that are not there."""

import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from inferencehub.gateway.calls.extensions import EXTENSIONS
from tests.gateway.raw import Raw
from tests.hub import MODELS, Hub, mock_model, running_gateway, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREDICT = "/predict"
GOOD = b'{"features":[1,2,3]}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    mock_model(models)
    write_model(models, "absent", 'backend: "onnxruntime"')
    shutil.copytree(MODELS / "sentiment", models / "sentiment")
    async with running_hub(models, default_model="quick") as hub:
        yield hub


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/healthz", {"live": True}),
        ("/readyz", {"ready": True}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/quick/ready", {"name": "quick", "ready": True}),
        ("/v2/models/quick/versions/1/ready", {"name": "quick", "ready": True}),
    ],
)  # fmt: skip
async def test_probes(hub: Hub, path: str, answer: object) -> None:
    status, found, headers = await hub.get(path)
    assert (status, found) == (200, answer)
    assert headers["content-type"] == "application/json"
    async with hub.client.head(hub.url + path) as head:
        assert (head.status, await head.read()) == (200, b"")


async def test_other_ways_to_pages(hub: Hub) -> None:
    assert (await hub.get("/v2/"))[1] == (await hub.get("/v2"))[1]
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    async with hub.client.get(hub.url + "/", headers=browser, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["location"]) == (307, "docs")
        assert answer.headers["vary"] == "accept"
    async with hub.client.get(hub.url + "/", headers=browser) as answer:
        assert (answer.status, answer.url.path, answer.content_type) == (200, "/docs", "text/html")


async def test_metadata(hub: Hub) -> None:
    status, found, _ = await hub.get("/v2")
    assert (status, found["name"], found["extensions"]) == (
        200,
        "inferencehub",
        list(EXTENSIONS),
    )
    status, found, _ = await hub.get("/v2/models")
    states = {model["name"]: model["state"] for model in found["models"]}
    assert states == {"absent": "UNAVAILABLE", "quick": "READY", "sentiment": "READY"}
    for path in ("/v2/models/quick", "/v2/models/quick/versions/1"):
        status, found, _ = await hub.get(path)
        assert (status, found["name"], found["versions"]) == (200, "quick", ["1"])
        assert found["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1]}]
        assert [spec["name"] for spec in found["outputs"]] == ["class_id", "confidence"]
    _, found, _ = await hub.get("/v2/models/sentiment")
    assert found["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]


@pytest.mark.parametrize("rest", ["", "/ready", "/versions/1", "/versions/1/ready"])
async def test_metadata_of_what_is_not_there(hub: Hub, rest: str) -> None:
    status, found, _ = await hub.get(f"/v2/models/nothing{rest}")
    assert status == 404
    assert "'nothing' is unknown" in found["error"]
    status, found, headers = await hub.get(f"/v2/models/absent{rest}")
    assert (status, headers["retry-after"]) == (503, "1")
    assert "'absent'" in found["error"]
    assert "model.onnx" in found["error"]
    if rest.startswith("/versions"):
        status, found, _ = await hub.get(f"/v2/models/quick{rest.replace('1', '9')}")
        assert (status, found["error"]) == (404, "model 'quick' has no version '9', it has 1")


async def test_a_call_of_a_model_that_does_not_serve(hub: Hub) -> None:
    for path in (PREDICT, "/v2/models/absent/infer"):
        body = {"features": [1], "model_name": "absent"} if path == PREDICT else {"inputs": []}
        status, found, headers = await hub.post(path, body)
        assert (status, headers["retry-after"]) == (503, "1")
        assert "model.onnx" in found["error"]


async def test_without_any_pod(hub: Hub) -> None:
    async with running_gateway(("127.0.0.1:9",), hold_s=0.1) as gateway, Raw(gateway.port) as connection:
        assert (await connection.ask("GET", "/readyz")).status == 200
        ready = await connection.ask("GET", "/v2/health/ready")
        called = await connection.ask("POST", PREDICT, GOOD)
    assert (ready.status, ready.headers["retry-after"]) == (503, "1")
    assert ready.json == {"error": "not ready: no inference pod serves"}
    assert (called.status, called.headers["retry-after"], called.json["class_id"]) == (503, "2", -1)
    assert "no inference service is ready" in called.json["error"]
