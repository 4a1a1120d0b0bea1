"""A hub with jobs, and their callers over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from struct import pack
from typing import Any

import grpc

from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import jobs_pb2 as pb
from inferencehub.pb import open_inference_pb2 as oip
from tests.gateway.jobs.test_jobs import hub_with_jobs
from tests.gateway.keyed_hub import failure
from tests.hub import Hub, mock_model
from tests.inference.pod_processes import infer_of, predict_of
from tests.written import request_to_proto

LATER = {"hub-async": "true"}
METHODS: dict[str, Any] = {
    "GetJob": pb.Job,
    "GetJobResult": pb.GetJobResultResponse,
    "ListJobs": pb.ListJobsResponse,
    "CancelJob": pb.Job,
    "RetryJob": pb.Job,
    "DeleteJob": pb.DeleteJobResponse,
}


class JobCaller:
    """One who calls models and asks about jobs.

    Args:
        channel: to the gateway.
        metadata: of each of their calls.
    """

    def __init__(self, channel: grpc.aio.Channel, metadata: dict[str, str] | None = None) -> None:
        self.channel = channel
        self.metadata = metadata or {}
        self.predict = predict_of(channel)
        self._infer = infer_of(channel)

    def by(self, **metadata: str) -> JobCaller:
        """Another caller on the same channel."""
        return JobCaller(self.channel, metadata)

    def infer(self, message: oip.ModelInferRequest, **metadata: str) -> Any:
        """A call of a model."""
        return self.infer_within(None, message, **metadata)

    def infer_within(self, seconds: float | None, message: oip.ModelInferRequest, **metadata: str) -> Any:
        """A call of a model with a deadline."""
        named = {name.replace("_", "-"): value for name, value in metadata.items()}
        return self._infer(message, timeout=seconds, metadata=tuple({**self.metadata, **named}.items()))

    async def job(self, message: oip.ModelInferRequest, **metadata: str) -> str:
        """The id of a job that was accepted."""
        call = self.infer(message, **{**LATER, **metadata})
        answer, trailers = await call, dict(await call.trailing_metadata())
        id: str = answer.parameters["hub_job"].string_param
        assert (trailers["hub-job"], answer.model_name, answer.id) == (id, message.model_name, message.id)
        assert trailers["hub-durability"] == answer.parameters["hub_durability"].string_param == "local"
        assert not answer.outputs
        return id

    def ask(self, method: str, **fields: Any) -> Any:
        """A call of `inference.Jobs`."""
        call: Any = self.channel.unary_unary(
            f"/inference.Jobs/{method}",
            getattr(pb, f"{method}Request").SerializeToString,
            METHODS[method].FromString,
        )
        return call(getattr(pb, f"{method}Request")(**fields), metadata=tuple(self.metadata.items()))

    async def result(self, id: str) -> Any:
        """The result of a job that ends soon."""
        found = await self.ask("GetJobResult", id=id, wait_s=20)
        assert found.WhichOneof("answer"), found
        return found


def adds(*values: float, id: str = "", model: str = "adds") -> oip.ModelInferRequest:
    """A request of the adding model."""
    tensor = Tensor("x", "FP32", (len(values),), pack(f"<{len(values)}f", *values))
    message = request_to_proto(InferRequest(model, "", (tensor,)))
    message.id = id
    return message


@asynccontextmanager
async def job_calls(directory: Path, **settings: Any) -> AsyncIterator[tuple[Hub, JobCaller]]:
    """The models of `hub_with_jobs`, one that takes a minute, and a caller."""
    mock_model(directory / "models", "slow", delay_ms=60_000, slots=1)
    async with (
        hub_with_jobs(directory, **settings) as hub,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}") as channel,
    ):
        yield hub, JobCaller(channel)


__all__ = ["LATER", "JobCaller", "adds", "failure", "job_calls"]
