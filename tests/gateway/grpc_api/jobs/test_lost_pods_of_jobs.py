"""Jobs of gRPC whose pods are lost."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from inferencehub.gateway.server import Gateway
from tests.gateway.grpc_api.jobs.job_calls import JobCaller, adds
from tests.gateway.jobs.test_runs import KILLS, MODEL
from tests.hub import Process, eventually, running_gateway, write_model

SLEEPS = """
import os, time

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        if not os.path.exists(os.environ["KILLED"]):
            with open(os.environ["KILLED"], "w") as file:
                file.write(str(os.getppid()))
            time.sleep(60)
        return {"y": inputs["x"] + 1}
"""


# Kills its pod, the first one at once, others when the test has seen that all are up.
KILLS_LATER = """
import os, signal, time

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        log = os.environ["KILLED"]
        with open(log, "a") as file:
            file.write("k")
        while os.path.getsize(log) > 1 and not os.path.exists(log + ".go"):
            time.sleep(0.05)
        os.kill(os.getppid(), signal.SIGKILL)
"""


def pods_of(directory: Path, count: int, code: str, once: str = "false") -> list[Process]:
    """Pods that are not started, of a model that is called "lost"."""
    write_model(directory / "models", "lost", MODEL.replace("ONCE", once), {"1/model.py": code})
    environ = {
        "HUB_MODELS": str(directory / "models"),
        "HUB_MODEL_ENV": "KILLED",
        "KILLED": str(directory / "killed"),
    }
    return [Process("inference", **environ) for _ in range(count)]


@asynccontextmanager
async def calling(directory: Path, pods: list[Process], up: int) -> AsyncIterator[tuple[Gateway, JobCaller]]:
    """A gateway that keeps jobs and sees the first `up` of its pods, and a caller."""
    async with AsyncExitStack() as stack:
        for pod in pods[:up]:
            await stack.enter_async_context(pod)
        gateway = await stack.enter_async_context(
            running_gateway(
                tuple(pod.address for pod in pods), jobs=f"sqlite:{directory / 'jobs.db'}", hold_s=2.0
            )
        )
        await eventually(lambda: sum(pod.up for pod in gateway.fleet.pods.values()) == up)
        address = f"127.0.0.1:{gateway.grpc.port}"
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        yield gateway, JobCaller(channel)


@pytest.mark.long
async def test_a_job_runs_again_where_its_pod_was_lost(tmp_path: Path) -> None:
    log = tmp_path / "killed"
    async with calling(tmp_path, pods_of(tmp_path, 2, SLEEPS), 2) as (_, caller):
        id = await caller.job(adds(1.0, model="lost"))
        await eventually(lambda: log.exists() and bool(log.read_text()))
        os.kill(int(log.read_text()), 9)
        found = await caller.result(id)
        assert found.response.raw_output_contents[0] == adds(2.0).raw_input_contents[0]
        assert found.job.state == "succeeded"


@pytest.mark.long
@pytest.mark.parametrize(("once", "killed"), [("false", 2), ("true", 1)])
async def test_a_job_that_kills_its_pod_costs_so_many_and_no_more(
    tmp_path: Path, once: str, killed: int
) -> None:
    async with calling(tmp_path, pods_of(tmp_path, 4, KILLS, once), 4) as (_, caller):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.infer(adds(1.0, model="lost"), hub_async="wait=30")
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
        trailers = dict(caught.value.trailing_metadata() or ())
        assert "grpc-retry-pushback-ms" not in trailers, "another call would be another job"
        job = await caller.ask("GetJob", id=trailers["hub-job"])
        assert (job.state, (tmp_path / "killed").read_text()) == ("failed", "k" * killed)


@pytest.mark.long
async def test_an_attempt_knows_of_the_pods_that_were_lost_before(tmp_path: Path) -> None:
    pods = pods_of(tmp_path, 3, KILLS_LATER)
    async with calling(tmp_path, pods, 1) as (gateway, caller), AsyncExitStack() as stack:
        id = await caller.job(adds(1.0, model="lost"))
        assert gateway.jobs is not None
        attempts = gateway.jobs.jobs.worker.running
        await eventually(lambda: (tmp_path / "killed").exists() and not attempts.all())
        assert (await caller.ask("GetJob", id=id)).state == "queued"
        for pod in pods[1:]:
            await stack.enter_async_context(pod)
        (tmp_path / "killed.go").touch()
        found = await caller.ask("GetJobResult", id=id, wait_s=30)
        assert (found.job.state, (tmp_path / "killed").read_text()) == ("failed", "kk")
