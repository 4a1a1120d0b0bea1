"""The HTTP edge as a caller sees it, besides bad input: headers, encodings, connections, and how calls end."""

import asyncio
import gzip
import re
import shutil
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import prod
from time import monotonic
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from inferencehub.gateway.calls.extensions import EXTENSIONS
from inferencehub.gateway.json_codec.tensor_json import FLAT
from tests.gateway.raw import Raw, request
from tests.hub import MODELS, Hub, eventually, mock_model, running_gateway, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREDICT = "/predict"
GOOD = b'{"features":[1,2,3]}'
SLOW = b'{"features":[1,2,3],"model_name":"slow"}'
CALL_TIMING = re.compile(
    r"queue;dur=[\d.]+, batch;dur=[\d.]+, network;dur=[\d.]+, compute;dur=([\d.]+), total;dur=([\d.]+)"
)
ECHO = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"out_" + name: array for name, array in inputs.items()}
"""
PROTO_TYPES = {name: "TYPE_" + ("STRING" if name == "BYTES" else name) for name in FLAT}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    mock_model(models)
    mock_model(models, "slow", delay_ms=150, slots=1)
    mock_model(models, "stuck", delay_ms=60_000, slots=1)
    write_model(models, "absent", 'backend: "onnxruntime"')
    tensors = [
        f'{way} {{ name: "{prefix}{name}" data_type: {kind} dims: [{dims}] }}'
        for name, kind in PROTO_TYPES.items()
        for way, prefix in (("input", ""), ("output", "out_"))
        for dims in ("-1, -1" if name == "FP64" else "-1",)
    ]
    write_model(models, "echo", 'backend: "python"\n' + "\n".join(tensors), {"1/model.py": ECHO})
    shutil.copytree(MODELS / "sentiment", models / "sentiment")
    async with running_hub(models, default_model="quick", queue_length=1) as hub:
        yield hub


@asynccontextmanager
async def raw(hub: Hub) -> AsyncIterator[Raw]:
    """A connection to the hub."""
    async with Raw(hub.gateway.port) as connection:
        yield connection


def pod(hub: Hub) -> str:
    """The address of its only pod."""
    return f"127.0.0.1:{hub.pods[0].port}"


async def value(url: str, line: str) -> float:
    """A metric's value; `line` is its name and labels."""
    async with aiohttp.ClientSession() as client, client.get(f"{url}/metrics") as answer:
        for found in (await answer.text()).splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
    return 0.0


async def becomes(url: str, line: str, wanted: float, within_s: float = 30.0) -> None:
    """Wait until a metric has a value."""
    began = monotonic()
    while (found := await value(url, line)) != wanted:
        assert monotonic() - began < within_s, f"{line} is {found}, not {wanted}"
        await asyncio.sleep(0.02)


def gateway_ops(hub: Hub) -> str:
    """Where the gateway's metrics are."""
    return f"http://127.0.0.1:{hub.gateway.ops.port}"


# --- headers ---


@pytest.mark.parametrize("id", ["7", "a" * 128, "job/5,6;7:{}\"'"])
async def test_a_request_id_is_taken_and_returned(hub: Hub, id: str) -> None:
    async with raw(hub) as connection:
        for method, path, body in (("POST", PREDICT, GOOD), ("POST", PREDICT, b"no"), ("GET", "/v2", None)):
            assert (await connection.ask(method, path, body, f"x-request-id: {id}")).headers[
                "x-request-id"
            ] == id


async def test_a_request_id_is_made_where_there_is_none(hub: Hub) -> None:
    async with raw(hub) as connection:
        made = {(await connection.ask("POST", PREDICT, GOOD)).headers["x-request-id"] for _ in range(50)}
    assert len(made) == 50


async def test_server_timing_and_served_by(hub: Hub) -> None:
    async with raw(hub) as connection:
        called = await connection.ask("POST", PREDICT, SLOW)
        found = CALL_TIMING.fullmatch(called.headers["server-timing"])
        assert found
        assert 149 < float(found[1]) <= float(found[2]) < 400
        assert called.headers["x-served-by"] == pod(hub)
        for path, body in ((PREDICT, b"no"), ("/nothing", b"{}")):
            other = await connection.ask("POST", path, body)
            assert re.fullmatch(r"total;dur=[\d.]+", other.headers["server-timing"])
            assert "x-served-by" not in other.headers


# --- cross-origin ---

PREFLIGHT = ("origin: https://app.example", "access-control-request-method: POST",
             "access-control-request-headers: content-type, x-request-timeout-ms")  # fmt: skip


async def test_no_cors_unless_it_is_set(hub: Hub) -> None:
    async with raw(hub) as connection:
        preflight = await connection.ask("OPTIONS", PREDICT, None, *PREFLIGHT)
        simple = await connection.ask("POST", PREDICT, GOOD, PREFLIGHT[0])
    assert (preflight.status, simple.status) == (405, 200)
    assert not [
        name for answer in (preflight, simple) for name in answer.headers if name.startswith("access-control")
    ]


async def test_cors_for_the_origins_that_are_set(hub: Hub) -> None:
    async with running_gateway(
        (pod(hub),), default_model="quick", cors_origins=("https://app.example",)
    ) as gateway:
        await eventually(lambda: gateway.fleet.ready)
        async with Raw(gateway.port) as connection:
            preflight = await connection.ask("OPTIONS", PREDICT, None, *PREFLIGHT)
            assert preflight.status == 200
            assert preflight.headers["access-control-allow-origin"] == "https://app.example"
            assert "x-request-timeout-ms" in preflight.headers["access-control-allow-headers"].lower()
            names = "authorization, content-type, x-stainless-lang, x-stainless-retry-count"
            for wanted, status in ((names, 200), (f"{names}, x-other", 400), ('x-stainless-"', 400)):
                asked = f"access-control-request-headers: {wanted}"
                openai = await connection.ask("OPTIONS", "/v1/chat/completions", None, *PREFLIGHT[:2], asked)
                assert openai.status == status
                allowed = openai.headers.get("access-control-allow-headers", "").split(", ")
                assert status == 400 or set(names.split(", ")) <= set(allowed)
            for body, status in ((GOOD, 200), (b"no", 400)):
                answer = await connection.ask("POST", PREDICT, body, PREFLIGHT[0])
                assert answer.status == status
                assert answer.headers["access-control-allow-origin"] == "https://app.example"
                assert "server-timing" in answer.headers["access-control-expose-headers"]
            lost = await connection.ask("GET", "/nothing", None, PREFLIGHT[0])
            assert (lost.status, lost.headers["access-control-allow-origin"]) == (404, "https://app.example")
            stranger = await connection.ask("POST", PREDICT, GOOD, "origin: https://other.example")
            assert (stranger.status, stranger.headers.get("access-control-allow-origin")) == (200, None)


@pytest.mark.parametrize("origins", ["https://app.example", "*"])
async def test_a_page_may_use_the_client_of_openai(hub: Hub, origins: str) -> None:
    """It sends a key and headers about itself, which the answer must name: * does not stand for `authorization`."""
    own = [
        "authorization", "content-type", "openai-organization", "openai-project", "user-agent", "x-stainless-lang",
        "x-stainless-retry-count", "x-stainless-runtime-version", "x-stainless-of-tomorrow",
    ]  # fmt: skip

    async def asked(*names: str, origin: str = "https://app.example") -> Any:
        fields = (f"origin: {origin}", PREFLIGHT[1], f"access-control-request-headers: {', '.join(names)}")
        return await connection.ask("OPTIONS", "/v1/chat/completions", None, *fields)

    async with (
        running_gateway((pod(hub),), cors_origins=(origins,)) as gateway,
        Raw(gateway.port) as connection,
    ):
        answer = await asked(*own)
        assert answer.status == 200
        allowed = answer.headers["access-control-allow-headers"].split(", ")
        assert set(own) <= set(allowed)
        assert "*" not in allowed
        assert (await asked("X-Stainless-Lang", "AUTHORIZATION")).status == 200
        for name in ("x-other", "x-stainless-", "x-stainless-a b", "cookie"):
            assert (await asked("authorization", name)).status == 400, name
        stranger = await asked(*own, origin="https://other.example")
        assert stranger.status == (200 if origins == "*" else 400)


async def test_cors_for_all(hub: Hub) -> None:
    async with running_gateway((pod(hub),), cors_origins=("*",)) as gateway, Raw(gateway.port) as connection:
        answer = await connection.ask("GET", "/healthz", None, PREFLIGHT[0])
    assert answer.headers["access-control-allow-origin"] == "*"


# --- bodies and connections ---


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress),
     ("identity", bytes)],
)  # fmt: skip
async def test_compressed_bodies(hub: Hub, encoding: str, pack: Any) -> None:
    async with raw(hub) as connection:
        plain = await connection.ask("POST", PREDICT, GOOD)
        packed = await connection.ask("POST", PREDICT, pack(GOOD), f"content-encoding: {encoding}")
    assert packed.status == 200
    assert packed.body == plain.body


async def test_a_body_in_chunks_and_one_that_comes_in_pieces(hub: Hub) -> None:
    chunks = b"".join([b"1\r\n%c\r\n" % byte for byte in GOOD]) + b"0\r\n\r\n"
    async with raw(hub) as connection:
        plain = await connection.ask("POST", PREDICT, GOOD)
        await connection.send(request("POST", PREDICT, b"", "transfer-encoding: chunked") + chunks)
        assert (await connection.read()).body == plain.body
        for part in (request("POST", PREDICT, GOOD)[:30], request("POST", PREDICT, GOOD)[30:-5], GOOD[-5:]):
            await connection.send(part)
            await asyncio.sleep(0.01)
        assert (await connection.read()).body == plain.body


async def test_a_connection_is_kept_and_answers_do_not_mix(hub: Hub) -> None:
    async with raw(hub) as connection:
        bodies = [b'{"features":[%d]}' % n for n in range(40)]
        alone = [(await connection.ask("POST", PREDICT, body)).body for body in bodies]
        bodies[7] = SLOW
        alone[7] = (await connection.ask("POST", PREDICT, SLOW)).body
        requests = [request("POST", PREDICT, body, f"x-request-id: {n}") for n, body in enumerate(bodies)]
        await connection.send(b"".join(requests))
        answers = [await connection.read() for _ in bodies]
    assert [answer.headers["x-request-id"] for answer in answers] == [str(n) for n in range(40)]
    assert [answer.body for answer in answers] == alone
    assert len(set(alone)) > 5


async def test_a_connection_is_closed_where_the_caller_wants_that(hub: Hub) -> None:
    async with raw(hub) as connection:
        answer = await connection.ask("POST", PREDICT, GOOD, "connection: close")
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await connection.closed() == b""


async def test_who_expects_to_be_told_to_continue_is_told(hub: Hub) -> None:
    head = request("POST", PREDICT, b"", "expect: 100-continue", f"content-length: {len(GOOD)}")
    async with raw(hub) as connection:
        await connection.send(head)
        assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await connection.send(GOOD)
        assert (await connection.read()).status == 200


@pytest.mark.parametrize("cut", [0, 20, 200, 10_000])
async def test_an_offer_of_http_2_is_ignored_and_the_body_is_not(hub: Hub, cut: int) -> None:
    offer = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__")
    async with raw(hub) as connection:
        plain = await connection.ask("POST", PREDICT, GOOD)
        data = request("POST", PREDICT, GOOD, *offer) * 3
        for part in (data[:cut], data[cut:]):
            await connection.send(part)
            await asyncio.sleep(0.01)
        assert [(await connection.read()).body for _ in range(3)] == [plain.body] * 3
        assert (
            await connection.ask("GET", "/healthz", None, "connection: upgrade", "upgrade: websocket")
        ).status == 200


# --- what it says of itself ---


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
    assert states == dict.fromkeys(("echo", "quick", "sentiment", "slow", "stuck"), "READY") | {
        "absent": "UNAVAILABLE"
    }
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


# --- ends of a call ---


async def test_while_draining(hub: Hub) -> None:
    async with running_gateway((pod(hub),), default_model="quick", drain_wait_s=0.3) as gateway:
        await eventually(lambda: gateway.fleet.ready)
        async with Raw(gateway.port) as kept, Raw(gateway.port) as other:
            assert "connection" not in (await kept.ask("POST", PREDICT, GOOD)).headers
            draining = asyncio.create_task(gateway.drain())
            await asyncio.sleep(0)
            called = await kept.ask("POST", PREDICT, GOOD)
            assert (called.status, called.headers["connection"]) == (200, "close")
            assert await kept.closed() == b""
            ready = await other.ask("GET", "/readyz")
            assert (ready.status, ready.json) == (503, {"error": "not ready: it is draining"})
            assert ready.headers["connection"] == "close"
        async with Raw(gateway.port) as late:
            assert (await late.ask("GET", "/healthz")).status == 200
        await draining


async def test_a_caller_that_hangs_up_leaves_the_lane_and_ends_the_pods_call(hub: Hub) -> None:
    body = b'{"features":[1],"model_name":"stuck"}'
    pod_ops = f"http://127.0.0.1:{hub.pods[0].ops.port}"
    running = 'inferencehub_inference_running{model="stuck",version="1"}'
    counted = 'inferencehub_gateway_request_seconds_count{front="http",model="stuck",status="499"}'
    before = await value(gateway_ops(hub), counted)
    async with raw(hub) as first, raw(hub) as second, raw(hub) as third:
        for connection in (first, second, third):  # one runs, one waits at the pod, one in the gateway
            await connection.send(request("POST", PREDICT, body))
        await becomes(gateway_ops(hub), 'inferencehub_gateway_running{model="stuck"}', 2)
        await becomes(gateway_ops(hub), 'inferencehub_gateway_queue_length{model="stuck"}', 1)
        await becomes(pod_ops, running, 1)
    await becomes(gateway_ops(hub), 'inferencehub_gateway_running{model="stuck"}', 0)
    await becomes(gateway_ops(hub), 'inferencehub_gateway_queue_length{model="stuck"}', 0)
    await becomes(pod_ops, running, 0)
    await becomes(gateway_ops(hub), counted, before + 3)
    assert await value(gateway_ops(hub), 'inferencehub_gateway_in_flight{front="http"}') == 0
    assert await value(gateway_ops(hub), "inferencehub_gateway_held_bytes") == 0


async def test_a_full_lane_says_when_to_come_again(hub: Hub) -> None:
    answers = await asyncio.gather(
        *[hub.post(PREDICT, {"features": [n], "model_name": "slow"}) for n in range(4)],
        *[hub.post("/v2/models/slow/infer", {"inputs": [
            {"name": "features", "shape": [1], "datatype": "FP32", "data": [1]}]}) for _ in range(4)],
    )  # fmt: skip
    counts = [status for status, _, _ in answers]
    assert counts.count(200) == 3  # one runs, one is on its way, one waits
    assert counts.count(429) == 5
    for status, answer, headers in answers:
        if status == 429:
            assert headers["retry-after"] == "1"
            assert "'slow' is busy" in answer["error"]
            assert "its limit is 1" in answer["error"]


@pytest.mark.parametrize("way", ["header", "parameter", "both", "default"])
async def test_a_deadline_is_kept(hub: Hub, way: str) -> None:
    headers = (
        {"x-request-timeout-ms": "200" if way == "header" else "5000"} if way in ("header", "both") else {}
    )
    body: dict[str, Any] = {"inputs": [{"name": "features", "shape": [1], "datatype": "FP32", "data": [1]}]}
    if way in ("parameter", "both"):
        body["parameters"] = {"timeout": 200_000}
    async with running_gateway(
        (pod(hub),), default_timeout_ms=200 if way == "default" else 30_000
    ) as gateway:
        await eventually(lambda: gateway.fleet.ready)
        url = f"http://127.0.0.1:{gateway.port}/v2/models/stuck/infer"
        began = monotonic()
        async with hub.client.post(url, json=body, headers=headers) as answer:
            took = monotonic() - began
            assert answer.status == 504
            assert "no answer before the request's deadline" in (await answer.json())["error"]
            assert "retry-after" not in answer.headers
    assert 0.199 < took < 4.0, "not those of the other way, 5 or 30 s"


async def test_the_default_model_goes_by_the_kind_of_input(hub: Hub) -> None:
    status, answer, _ = await hub.post(PREDICT, {"features": [1]})
    assert (status, "label" in answer) == (200, False)
    status, answer, _ = await hub.post(PREDICT, {"text": "what a wonderful day"})
    assert (status, answer["label"]) == (200, "positive")
    status, answer, _ = await hub.post(PREDICT, {"text": "awful", "model_name": "sentiment"})
    assert (status, answer["label"]) == (200, "negative")


# --- every datatype through a model and back ---

VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    "BYTES": ["", "é 漢 😀 \u0000 \" \\"],
    "FP16": [65504.0, -0.5, 6.103515625e-05],
    "FP32": [3.4028234663852886e38, 0.10000000149011612],
    "FP64": [[1.7976931348623157e308, 0.1], [5e-324, -0.0]],
    **{f"INT{bits}": [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": [0, 2**bits - 1] for bits in (8, 16, 32, 64)},
}  # fmt: skip


def echo_body(values: dict[str, list[Any]]) -> dict[str, Any]:
    """A call of the echo model."""
    shapes = {
        name: [len(data), len(data[0])] if name == "FP64" else [len(data)] for name, data in values.items()
    }
    return {
        "id": "e1",
        "inputs": [
            {"name": name, "shape": shapes[name], "datatype": name, "data": values[name]} for name in FLAT
        ],
    }


async def test_every_datatype_comes_back(hub: Hub) -> None:
    status, answer, _ = await hub.post("/v2/models/echo/infer", echo_body(VALUES))
    assert status == 200, answer
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("e1", "echo", "1")
    assert [output["name"] for output in answer["outputs"]] == [f"out_{name}" for name in FLAT]
    for output in answer["outputs"]:
        sent = VALUES[output["datatype"]]
        assert output["data"] == (sent[0] + sent[1] if output["datatype"] == "FP64" else sent)
        assert len(output["data"]) == prod(output["shape"])


async def test_nan_and_infinity_come_back_as_they_were(hub: Hub) -> None:
    strange = [float("nan"), float("inf"), float("-inf"), 1.0]
    values = VALUES | {"FP16": strange, "FP32": strange, "FP64": [strange]}
    status, answer, _ = await hub.post("/v2/models/echo/infer", echo_body(values))
    assert status == 200, answer
    found = {output["datatype"]: output["data"] for output in answer["outputs"]}
    assert [found[name] for name in ("FP16", "FP32", "FP64")] == [["NaN", "Infinity", "-Infinity", 1.0]] * 3


async def test_only_the_outputs_that_are_asked_for_in_their_order(hub: Hub) -> None:
    wanted = [{"name": "out_UINT8"}, {"name": "out_BOOL"}]
    status, answer, _ = await hub.post(
        "/v2/models/echo/versions/1/infer", echo_body(VALUES) | {"outputs": wanted}
    )
    assert (status, [output["name"] for output in answer["outputs"]]) == (200, ["out_UINT8", "out_BOOL"])
