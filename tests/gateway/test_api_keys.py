"""API keys at the gateway: who gets in, what each holder sees and may do, on all fronts, and changes of the file."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.core.auth.key_file import new_key
from inferencehub.core.grpc_server import infer_stream
from inferencehub.core.oip import messages
from inferencehub.pb import inference_pb2 as small
from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.grpc_api.calling import calling
from tests.gateway.raw import Raw, request
from tests.hub import Hub, eventually, mock_model, running_hub
from tests.inference.pod_processes import features
from tests.load import drawn

SERVICE = messages.SERVICE
KEYS = {name: new_key(name) for name in ("all", "few", "asks", "admin", "old", "later")}
NO_KEY = "there is no key: send a key as 'Authorization: Bearer hub_…' or 'X-Api-Key: hub_…'"


def entry(name: str, **fields: Any) -> dict[str, Any]:
    """A key in the file."""
    return {"id": name, "sha256": sha256(KEYS[name].encode()).hexdigest(), **fields}


ENTRIES = [
    entry("all", tenant="search"),
    entry("few", models=["quick", "other-?"]),
    entry("asks", actions=["describe"]),
    entry("admin", actions=["describe", "control"]),
    entry("old", not_after="2020-01-31T00:00:00Z"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of keys."""
    made = tmp_path / "keys.json"
    made.write_text(json.dumps({"keys": ENTRIES}))
    return made


@asynccontextmanager
async def hub_with_keys(tmp_path: Path, file: Path, **settings: Any) -> AsyncIterator[Hub]:
    """Two models, and a gateway that asks for keys."""
    for name in ("quick", "hidden"):
        mock_model(tmp_path / "models", name)
    async with running_hub(tmp_path / "models", api_keys=str(file), hold_s=0.0, **settings) as hub:
        yield hub


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name]}"}


INFER = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}
CALLS = {
    "/predict": {"features": [1.0, 2.0], "model_name": "quick"},
    "/v2/models/quick/infer": INFER,
    "/v2/models/quick/versions/1/infer": INFER,
    "/v2/models/quick/generate": {"features": [1.0, 2.0]},
    "/v2/models/quick/generate_stream": {"features": [1.0, 2.0]},
    "/v1/models/quick:predict": {"instances": [[1.0, 2.0]]},
    "/v1/chat/completions": {"model": "quick", "messages": [{"role": "user", "content": "a"}]},
    "/v1/completions": {"model": "quick", "prompt": "a"},
    "/v1/embeddings": {"model": "quick", "input": "a"},
}
ASKED = (
    "/v2", "/v2/models", "/v2/models/quick", "/v2/models/quick/config", "/v2/models/quick/ready", "/v2/models/quick/stats",
    "/v2/models/stats", "/v2/logging", "/v2/trace/setting", "/v1/models", "/v1/models/quick", "/nothing",
)  # fmt: skip
BAD: dict[str, tuple[dict[str, str], int, str]] = {
    "none": ({}, 401, NO_KEY),
    "the key alone": ({"authorization": KEYS["all"]}, 401, "the credentials are not of kind 'Bearer': send"),
    "empty": ({"authorization": "Bearer "}, 401, NO_KEY),
    "another kind": (
        {"authorization": "Basic dXNlcjpwYXNz"},
        401,
        "the credentials are not of kind 'Bearer': send",
    ),
    "unknown": ({"x-api-key": "hub_all_nonsense"}, 401, "the key is unknown"),
    "huge": ({"x-api-key": "hub_all_" + "x" * 7000}, 401, "the key is unknown"),
    "expired": (bearer("old"), 401, "key 'old' has expired at 2020-01-31T00:00:00+00:00"),
    "the wrong action": (bearer("asks"), 403, "key 'asks' may not infer, it may describe"),
}


def sentence(body: Any) -> str:
    """The sentence of an error, in either shape."""
    error = body["error"]
    return str(error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize("what", BAD)
async def test_every_call_and_question_over_http_is_refused(tmp_path: Path, file: Path, what: str) -> None:
    headers, status, said = BAD[what]
    async with hub_with_keys(tmp_path, file) as hub:
        for path, body in CALLS.items():
            found, answer, more = await hub.post(path, body, headers=headers)
            assert (found, sentence(answer)[: len(said)]) == (status, said), path
            assert ("www-authenticate" in more) is (status == 401)
            assert "x-request-id" in more
        if status == 401:
            for path in ASKED:
                found, answer, _ = await hub.get(path, headers=headers)
                assert (found, sentence(answer)[: len(said)]) == (status, said), path
            assert (await hub.post("/v2/repository/index", {}, headers=headers))[0] == 401
        for path in (
            "/",
            "/docs",
            "/openapi.json",
            "/healthz",
            "/readyz",
            "/v2/health/live",
            "/v2/health/ready",
        ):
            async with hub.client.get(hub.url + path, headers=headers) as open_to_all:
                assert open_to_all.status == 200, path


@pytest.mark.parametrize(
    "headers", [bearer("all"), {"x-api-key": KEYS["all"]}, {"authorization": f"bearer {KEYS['all']}"}]
)
async def test_a_good_key_gets_the_right_value(tmp_path: Path, file: Path, headers: dict[str, str]) -> None:
    async with hub_with_keys(tmp_path, file) as hub:
        status, found, _ = await hub.post("/predict", CALLS["/predict"], headers=headers)
        assert (status, found["class_id"], found["confidence"]) == (200, *drawn(1.0, 2.0))
        for path in ASKED[:-1]:
            assert (await hub.get(path, headers=headers))[0] == 200, path


async def test_a_refused_body_is_not_read(tmp_path: Path, file: Path) -> None:
    """The answer comes before the first byte of the body."""
    async with hub_with_keys(tmp_path, file) as hub:
        async with Raw(hub.gateway.port) as raw:
            await raw.send(request("POST", "/predict", b"x" * 1_000_000)[:-1_000_000])
            assert (await raw.read()).status == 401
        assert hub.gateway.bytes_held.held == 0


async def test_a_holder_sees_only_the_models_of_the_key(tmp_path: Path, file: Path) -> None:
    async with hub_with_keys(tmp_path, file) as hub:
        few, every = {"headers": bearer("few")}, {"headers": bearer("all")}
        refused = "key 'few' may not use model 'hidden'"
        for path in CALLS:
            body = json.loads(json.dumps(CALLS[path]).replace("quick", "hidden"))
            found, answer, _ = await hub.post(path.replace("quick", "hidden"), body, **few)
            assert (found, sentence(answer)) == (403, refused), path
        for path in ASKED:
            if "quick" in path:
                found, answer, _ = await hub.get(path.replace("quick", "hidden"), **few)
                assert (found, sentence(answer)) == (403, refused), path
        for headers, names in ((few, ["quick"]), (every, ["hidden", "quick"])):
            _, listed, _ = await hub.get("/v2/models", **headers)
            assert [model["name"] for model in listed["models"]] == names
            _, listed, _ = await hub.get("/v1/models", **headers)
            assert listed["models"] == [model["id"] for model in listed["data"]] == names
            _, listed, _ = await hub.post("/v2/repository/index", {}, **headers)
            assert [model["name"] for model in listed] == names
            _, listed, _ = await hub.get("/v2/models/stats", **headers)
            assert sorted({model["name"] for model in listed["model_stats"]}) == names
        found, answer, _ = await hub.post("/v2/models/other-1/infer", INFER, **few)
        assert (found, answer["error"]) == (404, "model 'other-1' is unknown, expected one of: quick")
        found, answer, _ = await hub.post("/v2/models/absent/infer", INFER, **few)
        assert (found, answer["error"]) == (403, "key 'few' may not use model 'absent'"), (
            "as for one that is there"
        )


async def test_the_model_of_requests_without_a_name_is_not_told(tmp_path: Path, file: Path) -> None:
    async with hub_with_keys(tmp_path, file, default_model="hidden") as hub:
        found, answer, _ = await hub.post("/predict", {"features": [1.0]}, headers=bearer("few"))
        assert (found, answer["error"]) == (403, "key 'few' may not use the model of requests that name none")
        assert (await hub.post("/predict", {"features": [1.0]}, headers=bearer("all")))[0] == 200


async def test_a_list_of_names_to_choose_from_has_only_those_of_the_key(tmp_path: Path, file: Path) -> None:
    async with hub_with_keys(tmp_path, file) as hub:
        for name, models in (("few", "quick"), ("all", "hidden, quick")):
            found, answer, _ = await hub.post("/predict", {"features": [1.0]}, headers=bearer(name))
            assert (found, answer["error"]) == (400, f"model_name is missing, expected one of: {models}")


async def test_settings_are_changed_only_with_control(tmp_path: Path, file: Path) -> None:
    async with hub_with_keys(tmp_path, file) as hub:
        body, level = {"log_info": True}, logging.getLogger().level
        try:
            found, answer, _ = await hub.post("/v2/logging", body, headers=bearer("all"))
            said = "key 'all' may not control, it may describe, infer"
            assert (found, answer["error"]) == (403, said)
            assert (await hub.post("/v2/logging", body, headers=bearer("admin")))[0] == 200
            async with over_grpc(hub, "LogSettings", pb.LogSettingsRequest, pb.LogSettingsResponse) as ask:
                changes = pb.LogSettingsRequest()
                changes.settings["log_info"].bool_param = True
                assert await failure(ask(changes, metadata=bearer("all").items())) == (
                    "PERMISSION_DENIED",
                    said,
                )
                await ask(pb.LogSettingsRequest(), metadata=bearer("all").items())
                await ask(changes, metadata=bearer("admin").items())
        finally:
            logging.getLogger().setLevel(level)


@asynccontextmanager
async def over_grpc(hub: Hub, method: str, asked: Any, answered: Any) -> AsyncIterator[Any]:
    """A unary method of the gateway."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        name = method if "/" in method else f"{SERVICE}/{method}"
        yield channel.unary_unary(
            f"/{name}", request_serializer=asked.SerializeToString, response_deserializer=answered.FromString
        )


async def failure(call: Any) -> tuple[str, str]:
    """Status and sentence of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, caught.value.details() or ""


METHODS: dict[str, tuple[Any, Any, Any]] = {
    "ModelInfer": (features("quick", 1.0, 2.0), pb.ModelInferRequest, pb.ModelInferResponse),
    "inference.ModelInference/Predict": (
        small.PredictRequest(features=[1.0, 2.0], model_name="quick"), small.PredictRequest, small.PredictResponse
    ),
    "ServerMetadata": (pb.ServerMetadataRequest(), pb.ServerMetadataRequest, pb.ServerMetadataResponse),
    "ModelReady": (pb.ModelReadyRequest(name="quick"), pb.ModelReadyRequest, pb.ModelReadyResponse),
    "ModelMetadata": (pb.ModelMetadataRequest(name="quick"), pb.ModelMetadataRequest, pb.ModelMetadataResponse),
    "ModelConfig": (pb.ModelConfigRequest(name="quick"), pb.ModelConfigRequest, pb.ModelConfigResponse),
    "ModelStatistics": (pb.ModelStatisticsRequest(name="quick"), pb.ModelStatisticsRequest, pb.ModelStatisticsResponse),
    "RepositoryIndex": (pb.RepositoryIndexRequest(), pb.RepositoryIndexRequest, pb.RepositoryIndexResponse),
    "LogSettings": (pb.LogSettingsRequest(), pb.LogSettingsRequest, pb.LogSettingsResponse),
    "TraceSetting": (pb.TraceSettingRequest(), pb.TraceSettingRequest, pb.TraceSettingResponse),
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_of_grpc_asks_for_a_key(tmp_path: Path, file: Path, method: str) -> None:
    message, asked, answered = METHODS[method]
    async with hub_with_keys(tmp_path, file) as hub, over_grpc(hub, method, asked, answered) as ask:
        for what, (headers, status, said) in BAD.items():
            if status == 401:
                code, found = await failure(ask(message, metadata=headers.items()))
                assert (code, found[: len(said)]) == ("UNAUTHENTICATED", said), what
        await ask(message, metadata=bearer("all").items())
        if any(field.name in ("name", "model_name") for field in message.DESCRIPTOR.fields):
            field = "name" if "name" in message.DESCRIPTOR.fields_by_name else "model_name"
            hidden = type(message).FromString(message.SerializeToString())
            setattr(hidden, field, "hidden")
            refused = ("PERMISSION_DENIED", "key 'few' may not use model 'hidden'")
            assert await failure(ask(hidden, metadata=bearer("few").items())) == refused
        if method in ("ModelInfer", "inference.ModelInference/Predict"):
            said = "key 'asks' may not infer, it may describe"
            assert await failure(ask(message, metadata=bearer("asks").items())) == ("PERMISSION_DENIED", said)


async def test_probes_over_grpc_are_open(tmp_path: Path, file: Path) -> None:
    async with hub_with_keys(tmp_path, file) as hub:
        async with over_grpc(hub, "ServerLive", pb.ServerLiveRequest, pb.ServerLiveResponse) as ask:
            assert (await ask(pb.ServerLiveRequest())).live
        async with over_grpc(hub, "ServerReady", pb.ServerReadyRequest, pb.ServerReadyResponse) as ask:
            assert (await ask(pb.ServerReadyRequest())).ready


async def test_bytes_that_are_no_message_get_401_before_anybody_reads_them(
    tmp_path: Path, file: Path
) -> None:
    async with (
        hub_with_keys(tmp_path, file) as hub,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel,
    ):
        call: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        assert await failure(call(b"\xff\xff")) == ("UNAUTHENTICATED", NO_KEY)
        code, _ = await failure(call(b"\xff\xff", metadata=bearer("all").items()))
        assert code == "INVALID_ARGUMENT"


async def opened(hub: Hub, headers: dict[str, str]) -> None:
    """A stream on which nothing is sent."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        open_stream: Any = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
        stream = open_stream(metadata=tuple(headers.items()), timeout=20)
        await stream.read()


async def streamed(hub: Hub, headers: dict[str, str], model: str) -> pb.ModelStreamInferResponse:
    """The answer to the one request of a stream."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel:
        open_stream: Any = channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        stream = open_stream(metadata=tuple(headers.items()))
        await stream.write(features(model, 1.0, 2.0, id="7"))
        answer: pb.ModelStreamInferResponse = await stream.read()
        await stream.done_writing()
        return answer


async def test_a_stream_without_a_key_is_not_opened_and_each_request_is_checked(
    tmp_path: Path, file: Path
) -> None:
    async with hub_with_keys(tmp_path, file) as hub:
        assert await failure(opened(hub, {})) == ("UNAUTHENTICATED", NO_KEY)
        assert (await failure(opened(hub, bearer("old"))))[0] == "UNAUTHENTICATED"
        assert (await failure(opened(hub, bearer("asks"))))[0] == "PERMISSION_DENIED"
        assert "may not use model 'hidden'" in (await streamed(hub, bearer("few"), "hidden")).error_message
        answer = await streamed(hub, bearer("few"), "quick")
        assert (answer.error_message, answer.infer_response.id) == ("", "7")


async def test_one_key_cannot_take_all_streams(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infer_stream, "MOST_OF_ONE", 3)
    async with (
        hub_with_keys(tmp_path, file) as hub,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel,
    ):
        open_stream: Any = channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            pb.ModelInferRequest.SerializeToString,
            pb.ModelStreamInferResponse.FromString,
        )
        streams = [open_stream(metadata=tuple(bearer("few").items())) for _ in range(3)]
        for stream in streams:
            await stream.write(features("quick", 1.0, id="7"))
            assert (await stream.read()).infer_response.id == "7"
        said = "key 'few' has 3 streams open, which is the most"
        assert await failure(opened(hub, bearer("few"))) == ("RESOURCE_EXHAUSTED", said)
        assert (await streamed(hub, bearer("all"), "quick")).infer_response.id == "7"
        streams[0].cancel()
        for _ in range(600):
            answer = await streamed_or_refused(hub, "few")
            if answer:
                break
            await asyncio.sleep(0.05)
        assert answer


async def streamed_or_refused(hub: Hub, name: str) -> bool:
    """Whether a stream is answered."""
    try:
        return (await streamed(hub, bearer(name), "quick")).infer_response.id == "7"
    except grpc.aio.AioRpcError:
        return False


async def test_names_that_callers_invent_are_not_kept(tmp_path: Path, file: Path) -> None:
    async with hub_with_keys(tmp_path, file) as hub:
        body = {"features": [1.0], "model_name": "x" * 100_000}
        assert (await hub.post("/predict", body, headers=bearer("few")))[0] == 403
        assert hub.gateway.keys is not None
        known = hub.gateway.keys.caller(KEYS["few"].encode())._known
        assert all(len(name) < 1000 for name in known)


async def test_paths_that_are_not_there_need_no_control(tmp_path: Path, file: Path) -> None:
    async with hub_with_keys(tmp_path, file) as hub:
        for path, status in (
            ("/predictt", 404), ("/v2/models", 405), ("/v2/systemsharedmemory/unregister", 200),
            ("/v2/repository/models/quick/load", 403), ("/v2/trace/setting", 403), ("/v2/models/quick/trace/setting", 403),
        ):  # fmt: skip
            assert (await hub.post(path, {}, headers=bearer("all")))[0] == status, path


async def test_a_refused_call_wakes_nothing_and_enters_no_lane(tmp_path: Path, file: Path) -> None:
    sleeping = ("night/hidden-2:1",)
    async with hub_with_keys(tmp_path, file, on_demand_models=sleeping) as hub:
        found, _, _ = await hub.post("/v2/models/hidden-2/infer", INFER, headers=bearer("few"))
        assert found == 403
        assert not hub.gateway.unknown.held
        metrics = await hub.metrics()
        assert 'kind="forbidden"' in metrics or 'status="403"' in metrics


async def test_access_lines_have_the_id_of_a_key_and_its_tenant_and_never_the_key(
    tmp_path: Path, file: Path
) -> None:
    mock_model(tmp_path / "models")
    async with calling(tmp_path / "models", api_keys=str(file)) as caller:
        async with aiohttp.ClientSession() as session:
            for headers in (bearer("all"), {}):
                url = f"http://127.0.0.1:{caller.gateway.port}/predict"
                async with session.post(url, json=CALLS["/predict"], headers=headers) as answer:
                    assert answer.status == (200 if headers else 401)
        infer: Any = caller.channel.unary_unary(f"/{SERVICE}/ModelInfer")
        message = features("quick", 1.0, 2.0).SerializeToString()
        await infer(message, metadata=tuple(bearer("few").items()))
        await eventually(lambda: caller.gateway.metrics.in_flight == 0)
        lines = caller.written()
    assert [(line["caller"], line["tenant"], line["status"]) for line in lines] == [
        ("all", "search", 200),
        ("", "", 401),
        ("few", "", 200),
    ]
    assert not any(key in json.dumps(lines) for key in KEYS.values())


def write(file: Path, text: str) -> None:
    """Change the file of keys."""
    file.write_text(text)


async def test_changes_of_the_file_take_hold(
    tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with hub_with_keys(tmp_path, file) as hub:

        async def status(name: str) -> int:
            return (await hub.post("/predict", CALLS["/predict"], headers=bearer(name)))[0]

        async def until(name: str, wanted: int) -> None:
            for _ in range(600):
                if await status(name) == wanted:
                    return
                await asyncio.sleep(0.05)
            pytest.fail(f"key '{name}' does not get {wanted}")

        assert (await status("later"), await status("all")) == (401, 200)
        write(file, json.dumps({"keys": [*ENTRIES, entry("later")]}))
        await until("later", 200)
        write(file, '{"keys": [{"id": "later"}]}')  # half written, or a mistake
        await eventually(lambda: [one for one in caplog.records if "stay in use" in one.getMessage()])
        (record,) = [one for one in caplog.records if "stay in use" in one.getMessage()]
        assert "must have either sha256 or certificate" in vars(record)["reason"]
        assert (await status("later"), await status("all")) == (200, 200)
        metrics = await hub.metrics()
        assert 'inferencehub_gateway_reload_refused{setting="HUB_API_KEYS"} 1.0' in metrics
        assert 'inferencehub_gateway_reloads_total{setting="HUB_API_KEYS"} 1.0' in metrics
        write(file, json.dumps({"keys": [entry("later")]}))
        await until("all", 401)
        assert await status("later") == 200
        metrics = await hub.metrics()
        assert 'inferencehub_gateway_reload_refused{setting="HUB_API_KEYS"} 0.0' in metrics
        assert not any(KEYS["later"] in str(vars(one)) for one in caplog.records)


async def test_without_keys_nobody_is_asked(tmp_path: Path) -> None:
    mock_model(tmp_path)
    async with running_hub(tmp_path) as hub:
        assert (await hub.post("/predict", {"features": [1.0]}))[0] == 200


async def test_openai_s_client_sends_its_key(tmp_path: Path, file: Path) -> None:
    from openai import AsyncOpenAI, AuthenticationError

    async with hub_with_keys(tmp_path, file) as hub:
        async with AsyncOpenAI(base_url=f"{hub.url}/v1", api_key=KEYS["few"]) as good:
            assert [model.id for model in (await good.models.list()).data] == ["quick"]
        async with AsyncOpenAI(base_url=f"{hub.url}/v1", api_key="sk-none") as bad:
            with pytest.raises(AuthenticationError, match="the key is unknown"):
                await bad.models.list()
            with pytest.raises(AuthenticationError, match="the key is unknown"):
                await bad.embeddings.create(model="quick", input="a")
