"""Statistics of a pod: callers whose deadline passes there have failed, and each run is counted once for gateways."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.core.lane.job import Job, Member
from inferencehub.core.oip import messages
from inferencehub.core.values.requests import Trip
from inferencehub.inference.grpc_api.call import Call
from inferencehub.inference.grpc_api.merged import add_times
from inferencehub.pb import open_inference_pb2 as pb
from tests.core.lane.jobs import request
from tests.hub import eventually, write_model
from tests.inference.pod_processes import Pod, calling_pod, features

MINUTE = 60_000_000  # microseconds


WAITS = """
import time

class Model:
    def __init__(self, directory, parameters):
        self.go = directory / "go"

    def predict(self, inputs):
        while not self.go.exists():
            time.sleep(0.01)
        return {"class_id": inputs["features"].astype(int)}
"""
CONFIG = """backend: "python" max_batch_size: 8
    input { name: "features" data_type: TYPE_FP32 dims: [1] }
    output { name: "class_id" data_type: TYPE_INT32 dims: [1] }"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model that waits until the file `go` is there."""
    write_model(tmp_path, "waits", CONFIG, {"1/model.py": WAITS})
    return tmp_path


async def counts(pod: Pod) -> tuple[int, int, int, int]:
    """Successes and failures of the model, its rows and its runs."""
    ask: Any = pod.channel.unary_unary(
        f"/{messages.SERVICE}/ModelStatistics",
        request_serializer=pb.ModelStatisticsRequest.SerializeToString,
        response_deserializer=pb.ModelStatisticsResponse.FromString,
    )
    (found,) = (await ask(pb.ModelStatisticsRequest(name="waits"))).model_stats
    stats = found.inference_stats
    return stats.success.count, stats.fail.count, found.inference_count, found.execution_count


async def test_callers_whose_deadline_passes_in_the_queue_have_failed(models: Path) -> None:
    async with calling_pod(models) as pod:

        def call(*left_us: int) -> Any:
            members = ", ".join(f'[1, {left}, "caller"]' for left in left_us)
            message = features("waits", *[1.0] * len(left_us), hub_members=f"[{members}]")
            message.inputs[0].shape[:] = [len(left_us), 1]
            return pod.infer(message)

        running = call(MINUTE)
        await eventually(lambda: pod.server.models.get("waits").free == 0)
        some, none = call(1000, MINUTE, 1000), call(1000)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await none  # its deadline has passed while it waited, and so have those of two others
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: len(pod.server.models.get("waits").open_lane().queue) == 1)
        (models / "waits" / "1" / "go").touch()
        answer = await some
        assert answer.parameters["hub_dropped"].string_param == "0,2"
        assert answer.outputs[0].shape[0] == 1
        await running
        for late in (call(-1), call(-1, -1)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await late
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await counts(pod) == (2, 2 + 1 + 1 + 2, 2, 2)


async def test_each_run_is_counted_in_one_answer_in_whatever_order_they_are_written(models: Path) -> None:
    async with calling_pod(models) as pod:
        model = pod.server.models.get("waits")
        for order in permutations("aabb"):
            trips = {"a": Trip(rows=3), "b": Trip(rows=3)}  # of two runs, each with two answers
            rows: list[tuple[str, int]] = []
            for run in order:
                call = Call(model, "", None, 0.0)
                call.job = Job(request([1.0]), 1, (Member(1, 1.0, ""),), 0.0)
                call.job.trip = trips[run]
                answer = pb.ModelInferResponse()
                add_times(answer, call)
                if "hub_rows" in answer.parameters:
                    rows.append((run, answer.parameters["hub_rows"].int64_param))
            assert sorted(rows) == [("a", 3), ("b", 3)], order
