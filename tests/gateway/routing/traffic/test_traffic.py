"""Which version a call gets: by weights, by an alias, by a header, on all fronts, and after the file has changed."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.core.files.watched import BadFile
from inferencehub.gateway.server import Gateway
from inferencehub.gateway.settings.gateway import GatewaySettings
from tests.gateway.http_api.openai.scripted import API
from tests.gateway.routing.traffic.test_choice import within
from tests.gateway.routing.traffic.versions import (
    INFER,
    TWO_NUMBERS,
    answered_by,
    changed,
    metric,
    split_hub,
    traffic_of,
    versions_of_mock,
    write,
)
from tests.hub import Hub, eventually, mock_model, running_gateway, running_pod, write_model
from tests.inference.pod_processes import features, infer_of
from tests.ports import free_port

NAMED = "/v2/models/m/versions/{}/infer"
ALL_ONE = {"weights": {"1": 1, "2": 0}}  # the default version is 2, the newest one
EMBEDS = """import numpy as np

class Model:
    def __init__(self, directory, parameters):
        self.version = float(directory.name)

    def predict(self, inputs):
        return {"embedding": np.full((len(inputs["input"]), 1), self.version, np.float32)}
"""
EMBEDDING = f"""backend: "python" {API % "openai-embedding"} version_policy {{ all {{ }} }}
    input {{ name: "input" data_type: TYPE_STRING dims: [ -1 ] }}
    output {{ name: "embedding" data_type: TYPE_FP32 dims: [ -1, 1 ] }}"""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"features": [1.0, 2.0], "model_name": "m"}),
        (INFER, TWO_NUMBERS),
        ("/v2/models/m/generate", {"features": [1.0, 2.0]}),
        ("/v1/models/m:predict", {"instances": [1.0]}),
    ],
)
async def test_a_call_without_a_version_gets_one_with_a_weight(tmp_path: Path, path: str, body: Any) -> None:
    async with split_hub(tmp_path, ALL_ONE) as hub:
        for _ in range(5):
            status, answer, headers = await hub.post(path, body)
            assert (status, headers["x-model-version"]) == (200, "1"), answer
        changed(hub, tmp_path / "traffic.json", {})
        assert (await hub.post(path, body))[2]["x-model-version"] == "2"


async def test_so_do_calls_of_openai_and_jobs(tmp_path: Path) -> None:
    files = {f"{version}/model.py": EMBEDS for version in (1, 2)}
    write_model(tmp_path / "models", "m", EMBEDDING, files)
    async with split_hub(tmp_path, ALL_ONE, jobs=f"sqlite:{tmp_path / 'jobs.db'}") as hub:
        body = {"model": "m", "input": ["text"]}
        status, answer, headers = await hub.post("/v1/embeddings", body)
        assert (status, headers["x-model-version"]) == (200, "1")
        assert answer["data"][0]["embedding"] == [1.0]
        text = {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [1], "data": ["text"]}]}
        _, _, headers = await hub.post(INFER, text, headers={"prefer": "respond-async"})
        result = await hub.get(f"{headers['location']}/result?wait=20")
        assert (result[1]["model_version"], result[1]["outputs"][0]["data"]) == ("1", [1.0])


async def test_and_calls_over_grpc(tmp_path: Path) -> None:
    entry = {"weights": {"1": 1, "2": 1}, "aliases": {"stable": "1", "canary": "2"}, "sticky": "x-user"}
    async with (
        split_hub(tmp_path, entry) as hub,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel,
    ):
        infer = infer_of(channel)
        for version, gets in (("stable", "1"), ("canary", "2"), ("1", "1"), ("2", "2")):
            request = features("m", 1.0)
            request.model_version = version
            assert (await infer(request)).model_version == gets
        for user in range(20):
            value = f"user-{user}"
            (over_http,) = await answered_by(hub, 2, headers={"X-User": value})
            answers = [await infer(features("m", 1.0), metadata=(("x-user", value),)) for _ in range(2)]
            assert [answer.model_version for answer in answers] == [over_http] * 2


async def test_aliases_stand_for_versions_in_calls_and_questions(tmp_path: Path) -> None:
    entry = {"weights": {"stable": 1}, "aliases": {"stable": "1", "canary": "2"}}
    async with split_hub(tmp_path, entry) as hub:
        for alias, version in (("stable", "1"), ("canary", "2"), ("2", "2")):
            assert await answered_by(hub, 3, NAMED.format(alias)) == {version: 3}
            status, answer, _ = await hub.get(f"/v2/models/m/versions/{alias}/stats")
            assert (status, answer["model_stats"][0]["version"]) == (200, version)
            for question in ("", "/config", "/ready"):
                assert (await hub.get(f"/v2/models/m/versions/{alias}{question}"))[0] == 200
        status, answer, _ = await hub.post(NAMED.format("newest"), TWO_NUMBERS)
        assert (status, answer["error"]) == (404, "model 'm' has no version 'newest', it has 1, 2")
        changed(hub, tmp_path / "traffic.json", {**entry, "aliases": {"stable": "2"}})
        assert await answered_by(hub, 3, NAMED.format("stable")) == {"2": 3}


async def test_a_job_may_name_an_alias(tmp_path: Path) -> None:
    entry = {"aliases": {"stable": "1"}}
    async with split_hub(tmp_path, entry, jobs=f"sqlite:{tmp_path / 'jobs.db'}") as hub:
        later = {"prefer": "respond-async"}
        _, job, headers = await hub.post(NAMED.format("stable"), TWO_NUMBERS, headers=later)
        result = await hub.get(f"{headers['location']}/result?wait=20")
        assert result[1]["model_version"] == "1", job


async def test_calls_are_split_by_the_weights_and_counted(tmp_path: Path) -> None:
    async with split_hub(tmp_path, {"weights": {"1": 90, "2": 10}}) as hub:
        found = await answered_by(hub, 500)
        assert within(found["2"], 0.1, 500), found
        for version in ("1", "2"):
            labels = f'model="m",version="{version}"'
            counted = 'inferencehub_gateway_traffic_seconds_count{model="m",'
            assert await metric(hub, f'{counted}outcome="ok",version="{version}"}}') == found[version]
            assert await metric(hub, f"inferencehub_gateway_traffic_share{{{labels}}}") == float(
                {"1": 0.9, "2": 0.1}[version]
            )
        assert await answered_by(hub, 20, NAMED.format("1")) == {"1": 20}


async def test_a_bad_file_leaves_the_last_good_one_in_effect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "traffic.json"
    async with split_hub(tmp_path, ALL_ONE) as hub:
        refused = 'inferencehub_gateway_reload_refused{setting="HUB_TRAFFIC"}'
        assert await metric(hub, refused) == 0
        changed(hub, file, {"weights": {"1": -1}})
        assert await metric(hub, refused) == 1
        (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
        why = f"HUB_TRAFFIC ({file}) cannot be used: model 'm': weights has a wrong value for '1': Expected `float` >= 0.0"
        assert record.__dict__["reason"] == traffic_of(hub).reason == why
        assert await answered_by(hub, 5) == {"1": 5}
        changed(
            hub, file, {"weights": {"canry": 1}, "aliases": {"canary": "2"}}
        )  # would let all calls go to 2
        assert await metric(hub, refused) == 1
        assert "weights has 'canry'" in traffic_of(hub).reason
        assert await answered_by(hub, 5) == {"1": 5}
        changed(hub, file, {"weights": {"2": 1}})
        assert await metric(hub, refused) == 0
        assert await answered_by(hub, 5) == {"2": 5}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"weights": {}, "sticky": "x"}, "sticky is there without weights"),
        ({"weights": {"stabel": 100}, "aliases": {"stable": "1"}}, "weights has 'stabel'"),
    ],
)
def test_a_gateway_does_not_start_with_a_bad_file(tmp_path: Path, entry: dict[str, Any], why: str) -> None:
    write(tmp_path / "traffic.json", {"m": entry})

    async def start() -> None:
        Gateway(GatewaySettings(port=0, grpc_port=0, ops_port=0, traffic=str(tmp_path / "traffic.json")))

    with pytest.raises(BadFile, match=f"model 'm': {why}"):
        asyncio.run(start())


async def test_the_gateway_follows_the_file_without_a_restart(tmp_path: Path) -> None:
    async with split_hub(tmp_path, ALL_ONE) as hub:
        assert await answered_by(hub, 5) == {"1": 5}
        write(tmp_path / "traffic.json", {"m": {"weights": {"2": 1}}})
        await eventually(lambda: traffic_of(hub).reloads == 1)
        assert await answered_by(hub, 5) == {"2": 5}


async def test_the_share_of_a_version_that_no_pod_serves_goes_to_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with split_hub(tmp_path, {"weights": {"1": 1, "2": 1, "7": 98}}) as hub:
        found = await answered_by(hub, 200)
        assert within(found["2"], 0.5, 200), found
        assert await metric(hub, 'inferencehub_gateway_traffic_share{model="m",version="7"}') == 0
        assert await metric(hub, 'inferencehub_gateway_traffic_share_wanted{model="m",version="7"}') == 0.98
        (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
        assert record.getMessage() == "no pod serves a version that has a weight, others get its calls"
        assert (record.__dict__["missing"], record.__dict__["calls_go_to"]) == (["7"], ["1", "2"])


async def test_calls_of_a_model_whose_versions_are_all_newer_than_the_file_get_the_newest(
    tmp_path: Path,
) -> None:
    versions_of_mock(tmp_path / "models", "2", "10")
    async with split_hub(tmp_path, {"weights": {"7": 1}, "aliases": {"old": "10"}}) as hub:
        assert await answered_by(hub, 5) == {"2": 5}
        changed(hub, tmp_path / "traffic.json", {"weights": {"7": 1}})
        assert await answered_by(hub, 5) == {"10": 5}


async def test_a_version_with_the_weight_0_gets_no_call_that_does_not_name_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is missing: here a version that no pod has ever had."""
    async with split_hub(tmp_path, {"weights": {"7": 100, "1": 0, "2": 0}}) as hub:
        status, body, _ = await hub.post(INFER, TWO_NUMBERS)
        reason = "no pod serves a version to which the file of traffic gives calls, only 1, 2"
        assert (status, body) == (503, {"error": f"model 'm' cannot be reached: {reason}"})
        assert await answered_by(hub, 2, "/v2/models/m/versions/2/infer") == {"2": 2}
        (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
        assert record.getMessage() == "no pod serves a version that has a weight, nothing gets its calls"
        name = 'inferencehub_gateway_traffic_seconds_count{model="m",outcome="failed",version="7"}'
        assert await metric(hub, name) == 1


async def test_nor_when_the_one_with_a_weight_is_taken_away(tmp_path: Path) -> None:
    settings = {"model_control": "poll", "repository_poll_s": 0.1}
    async with split_hub(tmp_path, {"weights": {"1": 100, "2": 0}}, pod=settings) as hub:
        assert await answered_by(hub, 5) == {"1": 5}
        shutil.rmtree(tmp_path / "models" / "m" / "1")
        await eventually(lambda: not hub.gateway.table.is_open("m", "1"))
        status, body, _ = await hub.post(INFER, TWO_NUMBERS)
        assert (status, body["error"].endswith("only 2")) == (503, True), body


async def test_a_call_waits_for_a_model_that_is_not_there_yet(tmp_path: Path) -> None:
    """And then gets a version that has come, not one that was drawn before."""
    write(tmp_path / "traffic.json", {"m": {"weights": {"1": 1, "7": 99}}})
    versions_of_mock(tmp_path / "models", "2")
    port = free_port()
    async with (
        running_gateway(
            (f"127.0.0.1:{port}",), traffic=str(tmp_path / "traffic.json"), hold_s=30.0
        ) as gateway,
        aiohttp.ClientSession() as client,
    ):
        hub = Hub(gateway, [], client)
        calls = [asyncio.create_task(answered_by(hub, 1)) for _ in range(10)]
        await eventually(lambda: sum(gateway.unknown.held.values()) == 10)
        async with running_pod(tmp_path / "models", port=port):
            assert [await call for call in calls] == [{"1": 1}] * 10


async def test_where_the_file_says_nothing_nothing_changes(tmp_path: Path) -> None:
    async with split_hub(tmp_path, {}) as hub:
        assert await answered_by(hub, 3) == {"2": 3}
        write(tmp_path / "traffic.json", {"other": ALL_ONE})
        traffic_of(hub).look()
        assert await answered_by(hub, 3) == {"2": 3}


async def test_a_model_that_no_pod_has_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start, when pods have listed their models, and when the file changes. It may come later, so it is not refused."""

    def warned() -> list[tuple[str, str]]:
        text = "the file of traffic names a model that no pod has"
        records = [one.__dict__ for one in caplog.records if one.getMessage() == text]
        return [(record["model"], record["models"]) for record in records]

    write(tmp_path / "traffic.json", {"frod": ALL_ONE, "m": ALL_ONE})
    versions_of_mock(tmp_path / "models", "2")
    async with (
        running_pod(tmp_path / "models") as pod,
        running_gateway((f"127.0.0.1:{pod.port}",), traffic=str(tmp_path / "traffic.json")) as gateway,
    ):
        traffic = gateway.table.traffic
        assert traffic is not None
        await eventually(lambda: bool(warned()))
        gateway.table.update()
        assert warned() == [("frod", "m")]
        write(tmp_path / "traffic.json", {"frod": ALL_ONE, "n": ALL_ONE})
        traffic.look()  # a pod that has just come up is listing its models again: the warning waits for that
        await eventually(lambda: warned() == [("frod", "m"), ("n", "m")])


async def test_calls_that_wait_for_a_version_whose_last_pod_ends_go_to_another_one(
    tmp_path: Path,
) -> None:
    """Those that name it wait for it."""
    for version, delay_ms in (("1", 0), ("2", 200)):
        mock_model(tmp_path / version, "m", delay_ms=delay_ms, slots=1)
        (tmp_path / version / "m" / "1").rename(tmp_path / version / "m" / version)
    file = tmp_path / "traffic.json"
    write(file, {"m": {"weights": {"1": 1e-6, "2": 1e6}}})
    async with running_pod(tmp_path / "1") as old, running_pod(tmp_path / "2", drain_timeout_s=10.0) as new:
        backends = (f"127.0.0.1:{old.port}", f"127.0.0.1:{new.port}")
        async with running_gateway(backends, traffic=str(file)) as gateway, aiohttp.ClientSession() as client:
            await eventually(lambda: gateway.table.versions("m") == ["1", "2"])
            hub = Hub(gateway, [], client)
            calls = [asyncio.create_task(answered_by(hub, 1)) for _ in range(20)]
            (lane,) = gateway.table.known("m", "2")
            await eventually(lambda: len(lane.lane.queue) >= 18)
            named = asyncio.create_task(hub.post(NAMED.format("2"), TWO_NUMBERS))
            await eventually(lambda: len(lane.lane.queue) >= 18 and gateway.metrics.http.in_flight > 15)
            stopping = asyncio.create_task(new.stop())
            found = sum([await call for call in calls], Counter())
            assert found["1"] > 10
            assert found["1"] + found["2"] == 20
            status, answer, _ = await named
            assert (status, "cannot be reached" in answer["error"]) == (503, True), answer
            assert lane.lane.idle
            assert gateway.bytes_held.held == 0
            await stopping
