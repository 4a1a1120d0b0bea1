"""Direct callers at a pod: with a certificate of the authority and an API key, as at the gateway, or not at all."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from inferencehub.core.files.watched import BadFile
from inferencehub.core.oip import messages
from inferencehub.core.process.settings import SettingError
from inferencehub.inference.settings import InferenceSettings
from inferencehub.pb import inference_pb2 as small
from inferencehub.pb import open_inference_pb2 as pb
from tests.authority import Authority
from tests.gateway.keyed_hub import BAD, entry, failure
from tests.gateway.test_keys_over_grpc import METHODS
from tests.hub import eventually, running_gateway
from tests.inference.pod_processes import features, infer_of
from tests.tier_tls.direct_callers import (
    CALLER,
    health,
    key,
    of,
    pod_with_keys,
    reflection,
    shown,
    write_keys,
)
from tests.tier_tls.secure_tiers import GATEWAY, SERVICES, Secrets, refusals, secure_pod

NO_KEY = (
    f"the certificate is for {CALLER}, localhost, 127.0.0.1, which is unknown, and there is no key: send a key as "
    "'Authorization: Bearer hub_…' or 'X-Api-Key: hub_…'"
)


async def test_every_method_asks_for_a_key_that_may_call_it(
    tmp_path: Path, secrets: Secrets, authority: Authority
) -> None:
    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        assert await refusals(channel) == dict.fromkeys(SERVICES, ("UNAUTHENTICATED", NO_KEY))
        for name in METHODS:
            method, message = of(channel, name)
            for what, (headers, status, said) in BAD.items():
                if status == 401 and what not in ("none", "empty"):
                    code, found = await failure(method(message, metadata=tuple(headers.items())))
                    assert (code, found[: len(said)]) == ("UNAUTHENTICATED", said), (name, what)
            await method(message, metadata=key("all"))
            infers = name in ("ModelInfer", "inference.ModelInference/Predict")
            if infers:
                refused = ("PERMISSION_DENIED", "key 'asks' may not infer, it may describe")
                assert await failure(method(message, metadata=key("asks"))) == refused
            if any(field.name in ("name", "model_name") for field in message.DESCRIPTOR.fields):
                field = "name" if "name" in message.DESCRIPTOR.fields_by_name else "model_name"
                for model in ("hidden", "absent"):
                    other = type(message).FromString(message.SerializeToString())
                    setattr(other, field, model)
                    refused = ("PERMISSION_DENIED", f"key 'few' may not use model '{model}'")
                    assert await failure(method(other, metadata=key("few"))) == refused, name


async def test_right_answers_for_a_direct_caller_and_for_a_gateway_without_a_key(
    tmp_path: Path, secrets: Secrets, authority: Authority
) -> None:
    message = features("quick", 1.0, 2.0, id="7")
    async with pod_with_keys(tmp_path, secrets) as pod:
        async with shown(pod, authority, GATEWAY) as channel:
            right = await infer_of(channel)(message)
        async with shown(pod, authority) as channel:
            assert await infer_of(channel)(message, metadata=key("few")) == right
        address = f"127.0.0.1:{pod.port}"
        async with running_gateway((address,), **secrets.gateway.tier_settings) as gateway:
            await eventually(lambda: gateway.fleet.ready)
            async with aiohttp.ClientSession() as client:
                body = {"features": [1.0, 2.0], "model_name": "quick"}
                async with client.post(f"http://127.0.0.1:{gateway.port}/predict", json=body) as answer:
                    assert answer.status == 200
                    found = await answer.json()
            (class_id,) = [one for one in right.outputs if one.name == "class_id"]
            at = list(right.outputs).index(class_id)
            assert found["class_id"] == int.from_bytes(right.raw_output_contents[at], "little")


async def test_a_certificate_in_the_file_needs_no_key(
    tmp_path: Path, secrets: Secrets, authority: Authority
) -> None:
    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        assert pod.keys is not None
        infer = infer_of(channel)
        assert await failure(infer(features("quick", 1.0))) == ("UNAUTHENTICATED", NO_KEY)
        write_keys(tmp_path / "keys.json", {"id": "robot", "certificate": CALLER, "models": ["quick"]})
        pod.keys.look()
        await infer(features("quick", 1.0))
        said = f"the certificate of '{CALLER}' may not use model 'hidden'"
        assert await failure(infer(features("hidden", 1.0))) == ("PERMISSION_DENIED", said)


async def test_a_holder_sees_only_the_models_of_the_key(
    tmp_path: Path, secrets: Secrets, authority: Authority
) -> None:
    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        index, _ = of(channel, "RepositoryIndex")
        statistics, _ = of(channel, "ModelStatistics")
        predict, _ = of(channel, "inference.ModelInference/Predict")
        for name, models in (("few", ["quick"]), ("all", ["hidden", "quick"])):
            listed = await index(pb.RepositoryIndexRequest(), metadata=key(name))
            assert sorted(model.name for model in listed.models) == models
            counted = await statistics(pb.ModelStatisticsRequest(), metadata=key(name))
            assert sorted(model.name for model in counted.model_stats) == models
            said = f"model_name is missing, expected one of: {', '.join(models)}"
            unnamed = small.PredictRequest(features=[1.0])
            assert await failure(predict(unnamed, metadata=key(name))) == ("INVALID_ARGUMENT", said)
        said = "model 'other-1' is unknown, expected one of: quick"
        other = features("other-1", 1.0)
        assert await failure(infer_of(channel)(other, metadata=key("few"))) == ("NOT_FOUND", said)
        asked = health_pb2.HealthCheckRequest
        assert (await health(channel)(asked(service="quick"), metadata=key("few"))).status == 1
        assert (await health(channel)(asked(), metadata=key("few"))).status == 1
        unknown = ("NOT_FOUND", "service 'hidden' is unknown")
        assert await failure(health(channel)(asked(service="hidden"), metadata=key("few"))) == unknown
        assert (await health(channel)(asked(service="hidden"), metadata=key("all"))).status == 1
        stream = reflection(channel)(metadata=key("few"))
        await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert messages.SERVICE in str(await stream.read())
        stream.cancel()


async def test_the_model_of_calls_without_a_name_is_not_told(
    tmp_path: Path, secrets: Secrets, authority: Authority
) -> None:
    async with (
        pod_with_keys(tmp_path, secrets, default_model="hidden") as pod,
        shown(pod, authority) as channel,
    ):
        predict, _ = of(channel, "inference.ModelInference/Predict")
        unnamed = small.PredictRequest(features=[1.0])
        said = "key 'few' may not use the model of requests that name none"
        assert await failure(predict(unnamed, metadata=key("few"))) == ("PERMISSION_DENIED", said)
        await predict(unnamed, metadata=key("all"))


async def test_settings_are_changed_only_with_control_and_the_audit_log_says_by_whom(
    tmp_path: Path, secrets: Secrets, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    changes, level = pb.LogSettingsRequest(), logging.getLogger().level
    changes.settings["log_info"].bool_param = True
    caplog.set_level(logging.INFO)

    def lines() -> list[tuple[Any, ...]]:
        own = [vars(one) for one in caplog.records if one.name == "inferencehub.audit"]
        caplog.clear()
        assert all(one["address"] in ("127.0.0.1", "::1") for one in own)
        named = ("msg", "id", "caller", "tenant", "reason", "call")
        return [tuple(one.get(field) for field in named if field in one) for one in own]

    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        change, _ = of(channel, "LogSettings")
        said = "key 'all' may not control, it may describe, infer"
        lines()
        try:
            id = ("x-request-id", "r1")
            refused = ("PERMISSION_DENIED", said)
            assert await failure(change(changes, metadata=(*key("all"), id))) == refused
            assert lines() == [("refused", "r1", "all", "search", said)]
            await change(pb.LogSettingsRequest(), metadata=key("all"))
            assert lines() == []
            await change(changes, metadata=(*key("admin"), id))
            assert lines() == [("control", "r1", "admin", "", "LogSettings")]
            await failure(change(changes, metadata=(id,)))
            assert lines() == [("refused", "r1", "", "", NO_KEY)]
        finally:
            logging.getLogger().setLevel(level)
        load: Any = channel.unary_unary(f"/{messages.SERVICE}/RepositoryModelLoad")
        assert await failure(load(b"", metadata=key("all"))) == refused
        assert (await failure(load(b"", metadata=key("admin"))))[0] == "UNIMPLEMENTED"


async def test_bytes_that_are_no_message_are_refused_before_anybody_reads_them(
    tmp_path: Path, secrets: Secrets, authority: Authority
) -> None:
    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        call: Any = channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
        assert await failure(call(b"\xff\xff")) == ("UNAUTHENTICATED", NO_KEY)
        assert (await failure(call(b"\xff\xff", metadata=key("asks"))))[0] == "PERMISSION_DENIED"
        assert (await failure(call(b"\xff\xff", metadata=key("all"))))[0] == "INVALID_ARGUMENT"


async def test_a_key_that_is_withdrawn_is_out_on_an_open_stream_too(
    tmp_path: Path, secrets: Secrets, authority: Authority
) -> None:
    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        assert pod.keys is not None
        opens: Any = channel.stream_stream(
            f"/{messages.SERVICE}/ModelStreamInfer",
            pb.ModelInferRequest.SerializeToString,
            pb.ModelStreamInferResponse.FromString,
        )
        assert (await failure(opens(metadata=key("asks")).read()))[0] == "PERMISSION_DENIED"
        stream = opens(metadata=key("few"))
        for model, said in (("quick", ""), ("hidden", "key 'few' may not use model 'hidden'")):
            await stream.write(features(model, 1.0, id="7"))
            answer = await stream.read()
            assert (answer.error_message, answer.infer_response.id) == (said, "7")
        for held, said in (
            ([entry("few", actions=["describe"])], "key 'few' may not infer, it may describe"),
            ([entry("all")], "the key is unknown"),
        ):
            write_keys(tmp_path / "keys.json", *held)
            pod.keys.look()
            await stream.write(features("quick", 1.0))
            assert (await stream.read()).error_message == said
        await stream.done_writing()
        assert await failure(opens(metadata=key("few")).read()) == ("UNAUTHENTICATED", "the key is unknown")
        infer = infer_of(channel)
        assert (await failure(infer(features("quick", 1.0), metadata=key("few"))))[0] == "UNAUTHENTICATED"
        await infer(features("quick", 1.0), metadata=key("all"))


async def test_a_direct_caller_cannot_speak_as_a_gateway(
    tmp_path: Path, secrets: Secrets, authority: Authority
) -> None:
    async with pod_with_keys(tmp_path, secrets) as pod, shown(pod, authority) as channel:
        for name in ("hub_members", "hub_callers"):
            merged = features("quick", 1.0, **{name: '[[1, 60000000, "a"]]'})
            said = f"parameter '{name}' is reserved"
            code, found = await failure(infer_of(channel)(merged, metadata=key("all")))
            assert (code, found[: len(said)]) == ("INVALID_ARGUMENT", said)


async def test_the_plain_port_for_probes_still_knows_each_model(tmp_path: Path, secrets: Secrets) -> None:
    async with pod_with_keys(tmp_path, secrets) as pod:
        assert pod.plain_health is not None
        async with grpc.aio.insecure_channel(f"127.0.0.1:{pod.plain_health.port}") as channel:
            assert (await health(channel)(health_pb2.HealthCheckRequest(service="quick"))).status == 1


async def test_a_key_does_not_help_where_direct_calls_are_off(
    models: Path, secrets: Secrets, authority: Authority, tmp_path: Path
) -> None:
    write_keys(tmp_path / "keys.json")
    file = str(tmp_path / "keys.json")
    async with secure_pod(models, secrets, api_keys=file) as pod, shown(pod, authority) as channel:
        code, said = await failure(infer_of(channel)(features("quick", 1.0), metadata=key("all")))
        assert (code, said.rpartition(", ")[2]) == ("UNAUTHENTICATED", "expected gateway")


def test_direct_calls_without_tls_or_keys_are_refused_at_the_start(tmp_path: Path, secrets: Secrets) -> None:
    with pytest.raises(SettingError, match="HUB_DIRECT_CALLS is true and the tiers speak in plain"):
        InferenceSettings(direct_calls=True, api_keys="keys.json")
    with pytest.raises(SettingError, match="HUB_DIRECT_CALLS is true, expected HUB_API_KEYS"):
        InferenceSettings(direct_calls=True, **secrets.inference.tier_settings)


async def test_a_file_of_keys_that_is_not_there_ends_the_start(models: Path, secrets: Secrets) -> None:
    with pytest.raises(BadFile, match="HUB_API_KEYS"):
        async with secure_pod(models, secrets, direct_calls=True, api_keys="/nowhere/keys.json"):
            raise AssertionError("it started")
