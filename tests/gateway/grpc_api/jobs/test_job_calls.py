"""Calls over gRPC that become jobs: their answers are those of calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as triton

from inferencehub.gateway.grpc_api.jobs.request import MARK
from inferencehub.gateway.http_api.jobs.request import Kept
from inferencehub.pb import inference_pb2 as predict_pb
from inferencehub.pb import open_inference_pb2 as oip
from tests.gateway.grpc_api.jobs.job_calls import LATER, adds, failure, job_calls
from tests.gateway.jobs.test_jobs import ask, running
from tests.gateway.jobs.webhooks.receiver import SECRET, receiving
from tests.gateway.keyed_hub import bearer, entry, key_file
from tests.hub import eventually
from tests.inference.pod_processes import features


async def test_a_job_has_the_answer_of_a_call_over_both_fronts(tmp_path: Path) -> None:
    async with job_calls(tmp_path) as (hub, caller):
        right = await caller.infer(adds(1.5, 2.5, id="one"))
        id = await caller.job(adds(1.5, 2.5, id="one"))
        found = await caller.result(id)
        assert found.response == right
        assert (found.code, found.headers["content-type"]) == (0, "application/x-protobuf")
        assert (found.job.state, found.job.status, found.job.attempts) == ("succeeded", 200, 1)
        async with hub.client.get(f"{hub.url}/v2/jobs/{id}/result") as answer:
            assert oip.ModelInferResponse.FromString(await answer.read()) == right
            assert (answer.status, answer.content_type) == (200, "application/x-protobuf")
            assert "queue;dur=" in answer.headers["server-timing"]
            assert answer.headers["x-served-by"]


async def test_an_unmodified_client_makes_jobs_and_waits_for_them(tmp_path: Path) -> None:
    async with (
        job_calls(tmp_path) as (hub, caller),
        triton.InferenceServerClient(f"127.0.0.1:{hub.gateway.grpc.port}") as client,
    ):
        data = np.arange(20_000, dtype=np.float32)
        tensor = triton.InferInput("x", [20_000], "FP32")
        tensor.set_data_from_numpy(data)
        waited = await client.infer("adds", [tensor], request_id="a", headers={"hub-async": "wait=20"})
        assert np.array_equal(waited.as_numpy("y"), data + 1)
        accepted = (await client.infer("adds", [tensor], headers=LATER)).get_response()
        found = await caller.result(accepted.parameters["hub_job"].string_param)
        assert np.array_equal(np.frombuffer(found.response.raw_output_contents[0], np.float32), data + 1)
        # The client may be given the answer as if it had waited.
        answer = triton.InferResult(found.response)
        assert np.array_equal(answer.as_numpy("y"), data + 1)


async def test_one_who_waits_gets_the_answer_itself_also_an_error(tmp_path: Path) -> None:
    async with job_calls(tmp_path) as (_, caller):
        call = caller.infer(adds(1.0, id="a"), hub_async="WAIT=20")
        assert await call == await caller.infer(adds(1.0, id="a"))
        trailers = dict(await call.trailing_metadata())
        assert (trailers["hub-durability"], bool(trailers["x-served-by"])) == ("local", True)
        assert (await caller.ask("GetJob", id=trailers["hub-job"])).state == "succeeded"
        right = await failure(caller.infer(adds(-1.0)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.infer(adds(-1.0), hub_async="wait=20")
        error = caught.value
        assert (error.code().name, error.details()) == right
        assert right[0] == "INVALID_ARGUMENT"
        id = dict(error.trailing_metadata())["hub-job"]
        found = await caller.result(id)
        assert (found.job.state, found.job.status, found.job.error) == ("failed", 400, right[1])
        assert (found.code, found.headers["content-type"]) == (3, "application/json")
        assert right[1].encode() in found.body


@pytest.mark.long
async def test_the_deadline_of_a_call_is_not_that_of_its_job(tmp_path: Path) -> None:
    """A caller with a short one hears of the job before it, and the job goes on."""
    async with job_calls(tmp_path) as (hub, caller):
        answer = await caller.infer_within(3, features("slow", 1.0), hub_async="wait=60")
        id = answer.parameters["hub_job"].string_param
        await eventually(lambda: len(running(hub)) == 1)
        assert (await caller.ask("CancelJob", id=id)).state == "cancelled"
        found = await caller.result(await caller.job(features("slow", 1.0, timeout=200_000)))
        assert (found.code, found.job.status) == (grpc.StatusCode.DEADLINE_EXCEEDED.value[0], 504)


async def test_what_would_be_refused_at_once_is_refused_at_once(tmp_path: Path) -> None:
    wrong = adds(1.0)
    wrong.inputs[0].shape[:] = [2]
    ours = adds(1.0)
    ours.parameters["hub_members"].string_param = "a"
    decoupled = features("counter", 1.0)
    async with job_calls(tmp_path, hold_s=0.0) as (_, caller):
        for message in (adds(1.0, model="none"), wrong, ours, decoupled, features("adds", 1.0)):
            right = await failure(caller.infer(message))
            assert await failure(caller.infer(message, **LATER)) == right
            assert right[0] in ("NOT_FOUND", "INVALID_ARGUMENT")
        assert not (await caller.ask("ListJobs")).jobs


WRONG = (
    ("hub-async", "yes", "hub-async: expected true, false, or wait= with 0 to 60 seconds, got 'yes'"),
    ("hub-async", "wait=61", "hub-async: expected true, false, or wait= with 0 to 60 seconds, got 'wait"),
    ("x-job-priority", "10", "X-Job-Priority: expected a whole number from 0 to 9, got '10'"),
    ("x-job-ttl-s", "0", "X-Job-Ttl-S: expected a whole number from 1 to 2592000, got '0'"),
    ("x-job-not-before", "2030-01-31T09:00:00", "X-Job-Not-Before: expected a time with a zone"),
    ("idempotency-key", "k" * 256, "Idempotency-Key: expected 1 to 255 printable characters of ASCII"),
)


async def test_metadata_that_is_none_is_refused(tmp_path: Path) -> None:
    async with job_calls(tmp_path) as (_, caller):
        for name, value, said in WRONG:
            code, found = await failure(caller.infer(adds(1.0), **{**LATER, name: value}))
            assert (code, found[: len(said)]) == ("INVALID_ARGUMENT", said)
            if name != "hub-async":  # they are nothing to a call that is no job
                assert (await caller.infer(adds(1.0), **{name: value})).outputs
                answer = await caller.infer(adds(1.0), **{name: value, "hub-async": "false"})
                assert "hub_job" not in answer.parameters


async def test_a_key_is_one_job(tmp_path: Path) -> None:
    async with job_calls(tmp_path) as (hub, caller):
        message = adds(1.0)
        for number in range(8):
            message.parameters[f"p{number}"].int64_param = number
        id = await caller.job(message, idempotency_key="k")
        await caller.result(id)
        # The same message with its parts in another order, as another library may write it.
        other = oip.ModelInferRequest()
        for number in reversed(range(8)):
            other.parameters[f"p{number}"].int64_param = number
        data = other.SerializeToString()
        other.Clear()
        other.CopyFrom(message)
        other.ClearField("parameters")
        send: Any = caller.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        call = send(
            data + other.SerializeToString(), metadata=(("hub-async", "true"), ("idempotency-key", "k"))
        )
        assert oip.ModelInferResponse.FromString(await call).raw_output_contents  # its result is there
        assert dict(await call.trailing_metadata())["hub-job"] == id
        code, said = await failure(caller.infer(adds(2.0), **LATER, idempotency_key="k"))
        assert (code, said[:35]) == ("ALREADY_EXISTS", "Idempotency-Key 'k' came with anoth")
        assert (await ask(hub, "GET", "/v2/jobs"))[1]["jobs"][0]["id"] == id
        assert len((await caller.ask("ListJobs")).jobs) == 1


async def test_other_calls_are_no_jobs_and_say_so(tmp_path: Path) -> None:
    said = "cannot become a job (hub-async), expected ModelInfer"
    metadata = tuple(LATER.items())
    async with job_calls(tmp_path) as (_, caller):
        small = predict_pb.PredictRequest(features=[1.0], model_name="quick")
        assert await failure(caller.predict(small, metadata=metadata)) == ("UNIMPLEMENTED", f"Predict {said}")
        assert not (await caller.predict(small, metadata=(("hub-async", "false"),))).error
        open: Any = caller.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        refused = ("UNIMPLEMENTED", f"ModelStreamInfer {said}")
        assert await failure(open(iter([adds(1.0).SerializeToString()]), metadata=metadata).read()) == refused
        ready: Any = caller.channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
        assert await ready(b"", metadata=metadata)


async def test_without_a_store_a_call_is_a_call(tmp_path: Path) -> None:
    said = "there are no jobs: HUB_JOBS says where they are kept"
    async with job_calls(tmp_path, jobs="") as (_, caller):
        answer = await caller.infer(adds(1.0), **LATER)
        assert (bool(answer.outputs), "hub_job" in answer.parameters) == (True, False)
        for method in ("GetJob", "GetJobResult", "ListJobs", "CancelJob", "RetryJob", "DeleteJob"):
            assert await failure(caller.ask(method)) == ("UNIMPLEMENTED", said)


async def test_large_jobs_are_right_and_leave_nothing(tmp_path: Path) -> None:
    """Also where the caller leaves while a thread has the request."""
    values = [float(number % 7) for number in range(400_000)]
    message = adds(*values)
    async with job_calls(tmp_path) as (hub, caller):
        found = await caller.result(await caller.job(message))
        answer = np.frombuffer(found.response.raw_output_contents[0], np.float32)
        assert np.array_equal(answer, np.array(values, np.float32) + 1)
        calls = [caller.infer(message, **LATER) for _ in range(8)]
        await eventually(lambda: hub.gateway.bytes_held.held > 0)
        for call in calls:
            call.cancel()
        await failure(caller.infer(adds(1.0, model="none"), **LATER))
        await eventually(lambda: not running(hub) and hub.gateway.bytes_held.held == 0)


async def test_a_result_that_is_too_large_fails_its_job(tmp_path: Path) -> None:
    async with job_calls(tmp_path, max_body_bytes=60) as (_, caller):
        found = await caller.result(await caller.job(features("quick", 1.0)))
        said = "the answer is larger than the 60 bytes that a job may keep"
        assert (found.job.state, found.code, found.job.error) == ("failed", 13, said)


async def test_a_limit_counts_a_job_once(tmp_path: Path) -> None:
    """Not again with its key, and not for the attempt."""
    file = key_file(tmp_path)
    file.write_text(json.dumps({"keys": [entry("all", rows=0.001, rows_burst=2)]}))
    async with job_calls(tmp_path, api_keys=str(file)) as (_, nobody):
        caller = nobody.by(**bearer("all"))
        for _ in range(4):
            await caller.infer(features("quick", 1.0), hub_async="wait=20", idempotency_key="k")
        await caller.infer(features("quick", 1.0))
        assert (await failure(caller.infer(features("quick", 1.0))))[0] == "RESOURCE_EXHAUSTED"


def test_what_http_keeps_never_has_the_mark_of_grpc() -> None:
    assert Kept(b"/predict", {}, b"{}", "id").packed()[0][:1] != MARK


async def test_the_end_of_a_job_of_grpc_is_told_too(tmp_path: Path) -> None:
    """Where webhooks are off, or the host is not one of theirs, that is said, as over HTTP."""
    url = "http://127.0.0.1:1/x"
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    async with job_calls(tmp_path) as (_, caller):
        code, said = await failure(caller.infer(adds(1.0), x_webhook_url=url, **LATER))
        assert (code, "HUB_WEBHOOK_HOSTS" in said) == ("INVALID_ARGUMENT", True)
    async with receiving() as receiver:
        origin = f"http://127.0.0.1:{receiver.port}"
        settings = {"webhook_hosts": (origin,), "webhook_secret": str(secret)}
        async with job_calls(tmp_path / "told", **settings) as (_, caller):
            assert (await failure(caller.infer(adds(1.0), x_webhook_url=url, **LATER)))[0] == code
            id = await caller.job(adds(1.0), x_webhook_url=f"{origin}/200")
            await eventually(lambda: len(receiver.messages) == 1)
            assert receiver.messages[0].read()["data"]["id"] == id
