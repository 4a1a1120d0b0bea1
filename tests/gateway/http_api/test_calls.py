"""Calls of models over HTTP: requests in pieces, and callers that leave at any moment."""

import asyncio
import gc
import io
import json
import re
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
import pytest_asyncio

from inferencehub.core.process.logs import AccessLog
from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.gateway.raw import Answer, Raw, request
from tests.hub import Hub, eventually, mock_model, running_gateway, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

INFER = "/v2/models/quick/infer"
TENSOR = {"name": "features", "shape": [3], "datatype": "FP32", "data": [1, 2.5, -3]}
STUCK = b'{"features":[1],"model_name":"stuck"}'
LARGE = """
import numpy as np

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"y": np.zeros(int(inputs["x"][0]), np.float32)}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    mock_model(models)
    mock_model(models, "slow", delay_ms=50)
    mock_model(models, "stuck", delay_ms=60_000, slots=1)
    config = """backend: "python"
        input { name: "x" data_type: TYPE_INT32 dims: [1] }
        output { name: "y" data_type: TYPE_FP32 dims: [-1] }"""
    write_model(models, "large", config, {"1/model.py": LARGE})
    async with running_hub(models, default_model="quick", max_body_bytes=200_000) as hub:
        yield hub


def infer(**more: Any) -> bytes:
    """An inference request."""
    return json.dumps({"inputs": [TENSOR], **more}).encode()


def seen(answer: Answer) -> tuple[object, ...]:
    """An answer without what differs from one request to the next."""
    headers = {
        name: re.sub(r"=[\d.]+|[0-9a-f]{12}-[0-9a-f]+", "", value)
        for name, value in answer.headers.items()
        if name != "date"
    }
    return answer.status, answer.body, sorted(headers.items())


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/predict", b'{"features":[1,2,3]}', ()),
        ("/predict", b'{"features":[1,2,3],"model_name":"quick"}', ("x-request-id: mine",)),
        ("/predict", b'{"features":[1,2,3]}', ("connection: close",)),
        ("/predict", b'{"features":[1,2,3]}', ("x-request-timeout-ms: 0",)),
        ("/predict", STUCK, ("x-request-timeout-ms: 50",)),
        ("/predict", b'{"features":[1e39]}', ()),
        ("/predict", b'{"features":[]}', ()),
        ("/predict", b'{"text":"a"}', ()),
        ("/predict", b"no", ()),
        ("/predict", b"", ("content-length: 0",)),
        ("/predict", b'{"features":[1],"model_name":"nobody"}', ()),
        ("/predict", b'{"features":[%b1]}' % (b"1," * 150_000), ()),
        (INFER, infer(id="7"), ()),
        (INFER, infer(parameters={"timeout": 5_000_000, "a": True}), ()),
        (INFER, infer(parameters={"timeout": -1}), ()),
        (INFER, infer(outputs=[{"name": "class_id"}]), ()),
        (INFER, infer(outputs=[{"name": "nothing"}]), ()),
        ("/v2/models/quick/versions/1/infer", infer(), ()),
        ("/v2/models/quick/versions/2/infer", infer(), ()),
        ("/v2/models/nobody/infer", infer(), ()),
        ("/v2/models/nobody/infer", b"no", ()),
        ("/v2/models/large/infer", b'{"inputs":[{"name":"x","shape":[1],"datatype":"INT32","data":[400000]}]}', ()),
    ],
)  # fmt: skip
async def test_a_call_is_answered_alike_however_it_is_cut(
    hub: Hub, path: str, body: bytes, headers: tuple[str, ...]
) -> None:
    whole = request("POST", path, body, *headers)
    answers = []
    for cut in (0, whole.index(b"\r\n\r\n") + 4, 10):
        async with Raw(hub.gateway.port) as raw:
            for part in (whole[:cut], whole[cut:]):
                await raw.send(part)
                await asyncio.sleep(0.02)
            answers.append(seen(await raw.read()))
            if "connection: close" in headers:
                assert await raw.closed() == b""
            else:
                answers += [seen(await raw.ask_again(whole)) for _ in range(2)]
    assert all(answer == answers[0] for answer in answers)


async def test_requests_of_one_connection_are_told_apart(hub: Hub) -> None:
    """With equal heads, in parts, with another behind it, or no request at all."""
    one, two = (request("POST", "/predict", b'{"features":[%d]}' % number) for number in (1, 2))
    async with Raw(hub.gateway.port) as raw:
        known, other = [(await raw.ask_again(whole)).json for whole in (one, two)]
        assert known != other
        for cut in (5, one.index(b"{"), len(one) - 1):
            await raw.send(one[:cut])
            await asyncio.sleep(0.02)
            assert (await raw.ask_again(one[cut:])).json == known
        await raw.send(one + two + one)
        assert [(await raw.read()).json for _ in range(3)] == [known, other, known]
        assert (await raw.ask_again(one.replace(b"{", b"}"))).status == 400
        assert (await raw.ask_again(one)).json == known
        assert (await raw.ask("POST", "/predict", b'{"features":[1]}', "x-request-id: a")).json == known
        assert (await raw.ask("GET", "/healthz")).status == 200
        assert (await raw.ask_again(one)).json == known


async def test_models_that_are_there_and_not_take_turns(hub: Hub) -> None:
    """With equal heads: the model is named in the body."""
    quick, nobody = (b'{"features":[1],"model_name":"%b"}' % name for name in (b"quick", b"nobod"))
    async with Raw(hub.gateway.port) as raw:
        for body, status in ((quick, 200), (quick, 200), (nobody, 404), (quick, 200)):
            answer = await raw.ask("POST", "/predict", body)
            assert answer.status == status
    assert hub.gateway.metrics.in_flight == 0


async def test_http_1_0_is_answered_and_closed(hub: Hub) -> None:
    for more in ((), ("connection: keep-alive",)):
        async with Raw(hub.gateway.port) as raw:
            whole = request("POST", "/predict", b'{"features":[1]}', *more).replace(b"HTTP/1.1", b"HTTP/1.0")
            await raw.send(whole)
            answer = await raw.read()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await raw.closed() == b""


async def test_a_caller_that_does_not_read_is_not_answered_without_end(hub: Hub) -> None:
    counted = hub.gateway.metrics.requests.labels("http", "quick", "200")
    before, most = sum(counted.counts), 1000  # 30 MB of answers, more than the sockets hold

    async def send_until_nothing_comes(raw: Raw) -> int:
        for sent in range(1, most):
            await raw.send(request("POST", INFER, infer(id="x" * 30_000)))
            began = monotonic()
            while sum(counted.counts) - before < sent:
                if monotonic() - began > 1.0:
                    return sent
                await asyncio.sleep(0.001)
        return most

    async with Raw(hub.gateway.port) as raw:
        sent = await send_until_nothing_comes(raw)
        assert sent < most, "it goes on although nobody reads"
        for _ in range(sent):
            assert (await raw.read()).json["id"] == "x" * 30_000
    await eventually(lambda: sum(counted.counts) - before == sent)


async def test_who_hangs_up_is_logged_and_its_work_is_dropped(hub: Hub) -> None:
    stream = io.BytesIO()
    settings = GatewaySettings(
        port=0, grpc_port=0, ops_port=0, backends=(f"127.0.0.1:{hub.pods[0].port}",), drain_wait_s=0.0
    )
    gateway = Gateway(settings, AccessLog("gateway", "json", stream))
    await gateway.start()
    try:
        await eventually(lambda: gateway.fleet.ready)
        async with Raw(gateway.port) as raw:
            assert (await raw.ask("GET", "/" + "x" * 2000)).status == 404
            await raw.send(request("POST", "/predict", STUCK, "x-request-id: gone"))
            await eventually(lambda: gateway.table.routes[("stuck", "")][0].lane.in_use.jobs == 1)
        await eventually(lambda: gateway.table.routes[("stuck", "")][0].lane.idle)
        await eventually(lambda: gateway.metrics.in_flight == 0)
    finally:
        await gateway.stop()
    [unknown, line] = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert unknown["path"] == "/" + "x" * 499, "a path is cut, for callers choose it"
    assert (line["id"], line["status"], line["kind"], line["model"]) == ("gone", 499, "caller_left", "stuck")


async def test_who_waits_longer_than_the_gateway_lives_is_told(hub: Hub) -> None:
    pod = (f"127.0.0.1:{hub.pods[0].port}",)
    async with running_gateway(pod, drain_timeout_s=0.2) as gateway:
        await eventually(lambda: gateway.fleet.ready)
        raw = await Raw(gateway.port).__aenter__()
        await raw.send(request("POST", "/predict", STUCK))
        await eventually(lambda: gateway.table.routes[("stuck", "")][0].lane.in_use.jobs == 1)
    answer = await raw.read()
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert "the gateway ends" in answer.json["error"]
    assert await raw.closed() == b""


@pytest.mark.long
@pytest.mark.timing  # a caller that is held up for 0.9 s between two requests is idle
@pytest.mark.parametrize("whole", [True, False])
async def test_idle_connections_are_closed_and_busy_ones_are_not(hub: Hub, whole: bool) -> None:
    pod = (f"127.0.0.1:{hub.pods[0].port}",)
    async with running_gateway(pod, default_model="quick", keep_alive_s=1.2) as gateway:
        await eventually(lambda: gateway.fleet.ready)
        async with Raw(gateway.port) as raw:
            data = request("POST", "/predict", b'{"features":[1]}')
            began = monotonic()
            while monotonic() - began < 1.8:
                for part in (data,) if whole else (data[:-3], data[-3:]):
                    await raw.send(part)
                assert (await raw.read()).status == 200
                await asyncio.sleep(0.3)
            await raw.send(request("POST", "/predict", STUCK, "x-request-timeout-ms: 1800"))
            assert (await raw.read()).status == 504, "one that waits is not idle"
            last = monotonic()
            assert await raw.closed() == b""
            assert 1.1 < monotonic() - last < 10.0


PREDICT = "/predict"
# Modules whose objects belong to a request. A lane is not one of them: on a busy machine a pod can miss a heartbeat, and
# its lanes are made again while a request runs.
OF_REQUESTS = (
    "inferencehub.core.http1",
    "inferencehub.core.lane.batch",
    "inferencehub.core.lane.job",
    "inferencehub.core.lane.sink",
    "inferencehub.core.values.requests",
    "inferencehub.core.values.tensors",
    "inferencehub.gateway.calls",
    "inferencehub.gateway.http_api",
    "uvicorn",
)
OF_SERVERS = (
    "http1.unread",
    "http1.server",
    "http1.limits",
)  # a server of an earlier test that has ended by now


@pytest.mark.long
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("POST", PREDICT, b'{"features":[1],"model_name":"quick"}'), 200),
        (request("POST", PREDICT, b'{"features":[1],"model_name":"slow"}'), 200),
        (request("POST", PREDICT, STUCK, "x-request-timeout-ms: 30"), 504),
        (request("POST", PREDICT, b'{"features":[1],"model_name":"nobody"}'), 404),
        (request("POST", "/v2/models/nobody/infer", infer()), 404),
        (request("POST", PREDICT, b"no"), 400),
        (request("POST", PREDICT, b'{"features":["a"]}'), 400),
        (request("POST", PREDICT, b"{}", "x-request-timeout-ms: 0"), 400),
        (request("POST", PREDICT, b"{}", "content-encoding: gzip"), 400),
        (request("POST", PREDICT, b"x" * 200_001), 413),
        (request("PUT", PREDICT, b"{}"), 405),
        (request("GET", "/nothing", b"{}"), 404),
    ],
)
async def test_a_request_leaves_nothing_for_the_collector(
    hub: Hub, whole: bool, data: bytes, status: int
) -> None:
    gc.collect()
    gc.disable()
    try:
        async with Raw(hub.gateway.port) as raw:
            for _ in range(5):
                for part in (data,) if whole else (data[:-3], data[-3:]):
                    await raw.send(part)
                    await asyncio.sleep(0.002)
                assert (await raw.read()).status == status
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = {type(thing) for thing in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    ours = {
        kind.__name__
        for kind in left
        if str(kind.__module__).startswith(OF_REQUESTS) and not str(kind.__module__).endswith(OF_SERVERS)
    }
    assert not ours, "the body of a request would stay until the collector comes"
