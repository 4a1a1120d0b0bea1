"""Statistics of models: exact counts, at the gateway also where pods end, and the same for all clients."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio

from inferencehub.core.oip.admin.message_json import message_json
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import Hub, Process, eventually, mock_model, running_gateway, running_hub, write_model

pytestmark = pytest.mark.long

ECHO = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        x = inputs["x"]
        if (x < 0).any():
            raise RuntimeError("it is negative")
        return {"y": x * 2}
"""
CONFIG = """backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }"""
DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
QUICK = {"inputs": [{"name": "features", "shape": [1], "datatype": "FP32", "data": [1.5]}]}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_model(tmp_path, "echo", CONFIG, {"1/model.py": ECHO})
    mock_model(tmp_path, "quick", slots=2)
    return tmp_path


def rows(*values: float) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [len(values), 1], "datatype": "FP32", "data": list(values)}
    return {"inputs": [tensor]}


async def stats(hub: Hub, path: str = "/v2/models/echo/stats") -> Any:
    status, answer, _ = await hub.get(path)
    assert status == 200
    return answer["model_stats"]


def counts(found: Any) -> dict[str, int]:
    return {name: found["inference_stats"][name]["count"] for name in DURATIONS}


def check_runs(found: Any) -> None:
    """What holds of all statistics."""
    sizes = found["batch_stats"]
    assert found["execution_count"] == sum(size["compute_infer"]["count"] for size in sizes)
    assert found["inference_count"] == sum(
        size["batch_size"] * size["compute_infer"]["count"] for size in sizes
    )
    assert [size["batch_size"] for size in sizes] == sorted({size["batch_size"] for size in sizes})
    of = {name: found["inference_stats"][name]["ns"] for name in DURATIONS}
    parts = of["queue"] + of["compute_input"] + of["compute_infer"] + of["compute_output"]
    # The pods send microseconds, so each part of a request may be off by half of one.
    assert parts <= of["success"] + 4000 * found["inference_stats"]["success"]["count"]


async def test_each_request_and_each_run_is_counted_once(models: Path) -> None:
    async with running_hub(models, pods=2) as hub:
        (before,) = await stats(hub)
        assert before == {
            "name": "echo",
            "version": "1",
            "last_inference": 0,
            "inference_count": 0,
            "execution_count": 0,
            "inference_stats": {
                name: {"count": 0, "ns": 0} for name in (*DURATIONS, "cache_hit", "cache_miss")
            },
            "response_stats": {},
            "batch_stats": [],
            "memory_usage": [],
        }
        sent = [rows(*[1.0] * (1 + number % 3)) for number in range(60)]
        answers = await asyncio.gather(*[hub.post("/v2/models/echo/infer", body) for body in sent])
        assert [status for status, _, _ in answers] == [200] * 60
        (found,) = await stats(hub)
        assert counts(found) == {**dict.fromkeys(DURATIONS, 60), "fail": 0}
        assert found["inference_count"] == 120
        assert found["last_inference"] > 1_700_000_000_000
        assert all(found["inference_stats"][name]["ns"] > 0 for name in ("success", "compute_infer"))
        check_runs(found)
        at_pods = [message_json(await at_pod(pod.port, "echo", "1"))["model_stats"][0] for pod in hub.pods]
        for pod in at_pods:
            check_runs(pod)
        for name in ("inference_count", "execution_count"):
            assert sum(pod[name] for pod in at_pods) == found[name]
        assert sum(counts(pod)["success"] for pod in at_pods) == 60
        sizes: Counter[int] = Counter()
        for pod in at_pods:
            sizes.update({size["batch_size"]: size["compute_infer"]["count"] for size in pod["batch_stats"]})
        assert sizes == {size["batch_size"]: size["compute_infer"]["count"] for size in found["batch_stats"]}


async def at_pod(port: int, model: str, version: str) -> pb.ModelStatisticsResponse:
    """What tritonclient reads from a pod, as our message."""
    async with triton_grpc_aio.InferenceServerClient(f"127.0.0.1:{port}") as client:
        answer = await client.get_inference_statistics(model, version)
        return pb.ModelStatisticsResponse.FromString(answer.SerializeToString())


async def test_failures_are_counted_and_bad_requests_are_not(models: Path) -> None:
    async with running_hub(models) as hub:
        statuses = []
        bodies: list[Any] = [rows(1), rows(-1), rows(1, -1), rows(), {"inputs": []}]
        for body in bodies:
            statuses.append((await hub.post("/v2/models/echo/infer", body))[0])
        assert statuses == [200, 500, 500, 400, 400]
        together = [hub.post("/v2/models/echo/infer", rows(value)) for value in (1, -1, 2, -2)]
        assert sorted([status for status, _, _ in await asyncio.gather(*together)]) == [200, 200, 500, 500]
        late = {"X-Request-Timeout-Ms": "1"}
        statuses = [(await hub.post("/v2/models/echo/infer", rows(1), headers=late))[0] for _ in range(5)]
        (found,) = await stats(hub)
        seen = Counter(statuses)
        assert set(seen) <= {200, 429, 504}
        assert counts(found)["success"] == 3 + seen[200]
        assert counts(found)["fail"] == 4 + seen[429] + seen[504]
        assert found["inference_stats"]["fail"]["ns"] > 0


async def test_counts_are_exact_and_never_fall_where_a_pod_is_killed(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick", delay_ms=5, slots=2)
    async with AsyncExitStack() as stack:
        pods = [Process("inference", HUB_MODELS=str(tmp_path)) for _ in range(3)]
        for pod in pods:
            await stack.enter_async_context(pod)
        addresses = tuple(pod.address for pod in pods)
        gateway = await stack.enter_async_context(running_gateway(addresses, hold_s=10.0))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        hub = Hub(gateway, [], client)
        statuses: Counter[int] = Counter()
        samples: list[Any] = []

        async def ask(number: int) -> None:
            for _ in range(number):
                statuses[(await hub.post("/v2/models/quick/infer", QUICK))[0]] += 1

        async def watch() -> None:
            while True:
                samples.extend(await stats(hub, "/v2/models/quick/stats"))
                await asyncio.sleep(0.01)

        await ask(1)
        watching = asyncio.create_task(watch())
        callers = [asyncio.create_task(ask(40)) for _ in range(16)]
        await eventually(lambda: statuses.total() >= 200)
        pods[1].send(signal.SIGKILL)
        await asyncio.gather(*callers)
        watching.cancel()
        (found,) = await stats(hub, "/v2/models/quick/stats")
        assert counts(found)["success"] == statuses[200]
        assert counts(found)["success"] + counts(found)["fail"] == 641
        assert found["inference_count"] == found["execution_count"] == statuses[200]
        check_runs(found)
        for before, after in pairwise(samples):
            for name in DURATIONS:
                for key in ("count", "ns"):
                    assert before["inference_stats"][name][key] <= after["inference_stats"][name][key]
            for name in ("inference_count", "execution_count", "last_inference"):
                assert before[name] <= after[name]
        assert len(samples) > 10


async def test_all_clients_read_the_same_statistics(models: Path) -> None:
    async with running_hub(models) as hub:
        for _ in range(3):
            await hub.post("/v2/models/quick/infer", QUICK)
        address = hub.url.removeprefix("http://")

        def by_http(model: str = "", version: str = "") -> Any:
            with triton_http.InferenceServerClient(address) as client:
                return client.get_inference_statistics(model, version)["model_stats"]

        def by_grpc() -> Any:
            with triton_grpc.InferenceServerClient(f"127.0.0.1:{hub.pods[0].port}") as client:
                return client.get_inference_statistics(as_json=True)["model_stats"]

        every = await asyncio.to_thread(by_http)
        assert [(each["name"], each["version"]) for each in every] == [("echo", "1"), ("quick", "1")]
        assert [counts(each)["success"] for each in every] == [0, 3]
        assert await asyncio.to_thread(by_http, "quick") == every[1:]
        assert await asyncio.to_thread(by_http, "quick", "1") == every[1:]
        async with triton_http_aio.InferenceServerClient(address) as client:
            assert (await client.get_inference_statistics())["model_stats"] == every
        at_pod = await asyncio.to_thread(by_grpc)
        assert [(each["name"], each["version"]) for each in at_pod] == [("echo", "1"), ("quick", "1")]
        assert at_pod[1]["inference_stats"]["success"]["count"] == "3"
        for path, status in (("none/stats", 404), ("quick/versions/7/stats", 404)):
            assert (await hub.get(f"/v2/models/{path}"))[0] == status
        with pytest.raises(Exception, match="model 'none' is unknown"):
            await asyncio.to_thread(by_http, "none")
