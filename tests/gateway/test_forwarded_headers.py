"""Headers that models get (`HUB_FORWARD_HEADERS`): over HTTP and gRPC, in jobs, and which ones never."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio

from inferencehub.core.oip.messages import SERVICE
from inferencehub.core.process.settings import SettingError
from inferencehub.core.values.tensors import pack_bytes, unpack_bytes
from inferencehub.gateway.settings.gateway import GatewaySettings
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub, running_gateway, running_hub, running_pod, write_model
from tests.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAYS = """
import json

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs, context):
        said = json.dumps(dict(context.parameters), sort_keys=True)
        return {"said": [[said]] * len(inputs["text"])}
"""
CONFIG = """backend: "python" max_batch_size: 8
    input { name: "text" data_type: TYPE_STRING dims: [ 1 ] }
    output { name: "said" data_type: TYPE_STRING dims: [ 1 ] }"""
TEXT = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["x"]}
SENT = {"X-User": "grüße", "Accept-Language": "pl", "X-Other": "no", "Authorization": "Bearer a"}
GOT = {"x-user": "grüße", "accept-language": "pl"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    folder: Path = tmp_path_factory.mktemp("forwarded")
    write_model(folder / "models", "says", CONFIG, {"1/model.py": SAYS})
    chosen: dict[str, Any] = {
        "forward_headers": ("x-user", "accept-language"),
        "jobs": f"sqlite:{folder / 'jobs.db'}",
        "cors_origins": ("https://app.example",),
    }
    async with running_hub(folder / "models", **chosen) as hub:
        yield hub


async def said(hub: Hub, headers: dict[str, str], **more: Any) -> Any:
    """What the model got, or the error."""
    status, answer, _ = await hub.post("/v2/models/says/infer", {"inputs": [TEXT], **more}, headers=headers)
    return json.loads(answer["outputs"][0]["data"][0]) if status == 200 else (status, answer["error"])


async def test_a_model_gets_the_chosen_headers_of_http(hub: Hub) -> None:
    assert await said(hub, SENT) == GOT
    assert await said(hub, {"x-user": "a"}, parameters={"k": 1}) == {"x-user": "a", "k": 1}
    assert await said(hub, {}) == {}
    status, answer, _ = await hub.post("/v2/models/says/generate", {"text": "x"}, headers=SENT)
    assert (status, json.loads(answer["said"])) == (200, GOT)


async def test_a_value_that_is_not_utf_8_is_latin_1(hub: Hub) -> None:
    head = b"POST /v2/models/says/infer HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-user: gr\xfc\xdfe\r\n"
    body = json.dumps({"inputs": [TEXT]}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.gateway.port)
    writer.write(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
    answer = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
    writer.close()
    assert json.loads(answer["outputs"][0]["data"][0]) == {"x-user": "grüße"}


async def test_requests_with_other_headers_do_not_share_a_run(hub: Hub) -> None:
    users = [f"user-{number % 5}" for number in range(40)]
    found = await asyncio.gather(*[said(hub, {"x-user": user}) for user in users])
    assert found == [{"x-user": user} for user in users]


async def test_a_caller_cannot_say_it_as_a_parameter(hub: Hub) -> None:
    why = (400, "parameter 'x-user' is reserved, expected a header of this name")
    assert await said(hub, {"x-user": "a"}, parameters={"x-user": "root"}) == why
    assert await said(hub, {}, parameters={"x-user": "root"}) == why


async def ask(hub: Hub, metadata: tuple[tuple[str, str], ...], **parameters: str) -> Any:
    """What the model got, over gRPC."""
    message = pb.ModelInferRequest(model_name="says", raw_input_contents=[pack_bytes([b"x"])])
    message.inputs.add(name="text", datatype="BYTES", shape=[1, 1])
    for name, value in parameters.items():
        message.parameters[name].string_param = value
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        infer: Any = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        answer = await infer(message, metadata=metadata)
        return json.loads(unpack_bytes(answer.raw_output_contents[0])[0])


async def test_a_model_gets_them_of_grpc_metadata_and_of_jobs(hub: Hub) -> None:
    sent = (("x-user", "a"), ("x-other", "no"))
    assert await ask(hub, sent) == {"x-user": "a"}
    assert await ask(hub, (*sent, ("hub-async", "wait=20"))) == {"x-user": "a"}
    assert await said(hub, {**SENT, "Prefer": "respond-async, wait=20"}) == GOT


async def test_nor_in_a_job_of_a_pool_that_sleeps(hub: Hub, tmp_path: Path) -> None:
    """It is accepted before its model is known, and its parameters are read when it runs."""
    write_model(tmp_path / "models", "says", CONFIG, {"1/model.py": SAYS})
    port = free_port()
    async with (
        running_gateway(
            (f"127.0.0.1:{port}",),
            jobs=f"sqlite:{tmp_path / 'jobs.db'}",
            on_demand_models=("cpu/says:4",),
            forward_headers=("x-user",),
        ) as gateway,
        aiohttp.ClientSession() as client,
    ):
        asleep, later = Hub(gateway, [], client), {"prefer": "respond-async"}
        with pytest.raises(grpc.aio.AioRpcError, match="parameter 'x-user' is reserved"):
            await ask(asleep, (("hub-async", "true"),), **{"x-user": "root"})
        places = []
        for more in ({"x-user": "root"}, {}):
            _, _, headers = await asleep.post(
                "/v2/models/says/generate", {"text": "x", **more}, headers=later
            )
            places.append(headers["location"])
        async with running_pod(tmp_path / "models", port=port, pool="cpu"):
            (refused, why, _), (done, _, _) = [await asleep.get(f"{at}/result?wait=20") for at in places]
    assert (refused, done) == (400, 200), why
    assert why["error"] == "parameter 'x-user' is reserved, expected a header of this name"


async def test_pages_may_send_them(hub: Hub) -> None:
    asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
    for name, status in (("x-user", 200), ("x-other", 400)):
        headers = {**asked, "access-control-request-headers": name}
        async with hub.client.options(f"{hub.url}/v2/models/says/infer", headers=headers) as answer:
            assert answer.status == status


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("authorization", "has 'authorization', which has credentials: models must not get them"),
        ("cookie", "credentials"),
        ("x-api-key", "credentials"),
        ("proxy-authorization", "credentials"),
        ("X-User", "has 'X-User', expected names of headers in lower case"),
        ("x-trace-bin", "expected names of headers"),
        ("x user", "expected names of headers"),
        ("timeout", "has 'timeout', which is a parameter with a meaning of its own"),
        ("priority", "a meaning of its own"),
        ("hub_members", "a meaning of its own"),
    ],
)
async def test_what_no_model_may_get_is_refused(name: str, why: str) -> None:
    with pytest.raises(SettingError, match=f"HUB_FORWARD_HEADERS.*{why}"):
        GatewaySettings(forward_headers=("x-user", name))
