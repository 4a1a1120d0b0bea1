"""Foreign servers of the Open Inference Protocol: without health Watch, without our extension, even without
RepositoryIndex. The server in this file has the protocol and nothing else. A real Triton runs if `TRITON_SERVER` is set
to a command that takes a model repository, an HTTP port and a gRPC port.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import grpc
import pytest

from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import eventually, running_gateway, write_model
from tests.ports import free_port
from tests.programs import triton_server


class Plain:
    """An inference server with one model, `double`, that takes and gives one FP32 vector."""

    def __init__(self, lists: bool) -> None:
        self.lists = lists
        self.typed = 0  # how many typed values it answers with, in place of raw contents
        self.model_ready = True
        self.models = ["double"]  # those that it lists; it describes only the first one
        self.seen: list[pb.ModelInferRequest] = []
        self.asked: set[str] = set()

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ServerReadyResponse(ready=True)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ModelReadyResponse(ready=self.model_ready and request.name == "double")

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ServerMetadataResponse(name="plain", version="1")

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.name != "double":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name}")
        vector = {"datatype": "FP32", "shape": [-1]}
        return pb.ModelMetadataResponse(
            name="double", versions=["1"], platform="plain", inputs=[{"name": "x", **vector}], outputs=[{"name": "y", **vector}]
        )  # fmt: skip

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        if not self.lists:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
        return pb.RepositoryIndexResponse(
            models=[{"name": name, "version": "1", "state": "READY"} for name in self.models]
        )

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.seen.append(request)
        shape = request.inputs[0].shape
        values = struct.unpack(f"<{shape[0]}f", request.raw_input_contents[0])
        reply = pb.ModelInferResponse(model_name="double", model_version="1", id=request.id)
        output = reply.outputs.add(name="y", datatype="FP32", shape=shape)
        doubled = [2 * value for value in values]
        if self.typed:
            output.contents.fp32_contents.extend(doubled[: self.typed])
        else:
            reply.raw_output_contents.append(struct.pack(f"<{shape[0]}f", *doubled))
        return reply


@asynccontextmanager
async def plain_server(lists: bool = True, service: Plain | None = None) -> AsyncIterator[tuple[Plain, str]]:
    """The server on a free port, and its address."""
    service, server = service or Plain(lists), grpc.aio.server()
    methods: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(service, name),
            request_deserializer=getattr(pb, f"{name}Request").FromString,
            response_serializer=lambda reply: reply.SerializeToString(),
        )
        for name in ("ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "RepositoryIndex", "ModelInfer")
    }  # fmt: skip
    service_handlers = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)
    server.add_generic_rpc_handlers([service_handlers])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield service, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def infer(client: aiohttp.ClientSession, model: str = "double") -> tuple[int, Any]:
    """Status and body of an infer that doubles 1.5 and -2."""
    x = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, -2]}
    async with client.post(f"/v2/models/{model}/infer", json={"id": "a", "inputs": [x]}) as answer:
        return answer.status, await answer.json()


@asynccontextmanager
async def gateway_client(address: str, **settings: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a gateway in front of one address; the gateway sees it as up."""
    async with running_gateway((address,), **settings) as gateway:
        await eventually(lambda: gateway.fleet.ready, 60)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as client:
            yield client


async def until_status(client: aiohttp.ClientSession, status: int, service: Plain, ready: bool) -> float:
    """Seconds from a change of the model's readiness until answers have a status."""
    service.model_ready = ready
    began = monotonic()
    while (await infer(client))[0] != status:
        assert monotonic() - began < 30
    return monotonic() - began


async def test_a_model_that_is_listed_and_not_described_is_there() -> None:
    async with plain_server() as (service, address):
        service.models.append("hidden")
        async with gateway_client(address, hold_s=0.1) as client:
            async with client.get("/v2/models") as answer:
                states = {
                    one["name"]: (one["state"], one["reason"]) for one in (await answer.json())["models"]
                }
            assert states == {
                "double": ("READY", ""),
                "hidden": ("UNAVAILABLE", "its server lists it, but does not describe it"),
            }
            async with client.post("/predict", json={"features": [1, 2]}) as answer:
                said = (await answer.json())["error"]
                assert (answer.status, said) == (
                    400,
                    "model_name is missing, expected one of: double, hidden",
                )
            assert not service.seen, "it is not the only model"


@pytest.mark.parametrize("lists", [True, False], ids=["with an index", "without an index"])
async def test_a_plain_server_is_found_served_and_taken_out_by_polling(lists: bool) -> None:
    async with plain_server(lists) as (service, address), gateway_client(address, hold_s=0.1) as client:
        status, body = await infer(client)
        assert (status, body["outputs"][0]["data"]) == (200, [3.0, -4.0])
        async with client.get("/v2/models/double") as answer:
            assert (await answer.json())["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1]}]
        assert (await infer(client, "triple"))[0] == 404
        assert not any(message.parameters for message in service.seen), (
            "nothing of ours goes to a server that is not"
        )

        out = await until_status(client, 503, service, ready=False)
        assert (await infer(client))[0] == 503
        back = await until_status(client, 200, service, ready=True)
        print(f"out after {out:.2f} s, back after {back:.2f} s")
        assert out < 15
        assert back < 15


async def test_a_server_that_answers_with_typed_contents_is_read() -> None:
    async with plain_server() as (service, address), gateway_client(address) as client:
        service.typed = 2
        status, body = await infer(client)
        assert (status, body["outputs"][0]["data"]) == (200, [3.0, -4.0])
        service.typed = 1
        said = "the model gave tensor 'y': shape [2] of FP32 needs 8 bytes, got 4"
        assert await infer(client) == (500, {"error": said})


TRITON_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x * 2)]))
        return answers
"""


@asynccontextmanager
async def triton(repository: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Triton of its own process group, killed at the end."""
    command = [*triton_server(), str(repository), str(free_port()), str(port)]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.mark.tools
async def test_a_real_triton_is_served_and_comes_back_after_its_death(tmp_path: Path) -> None:
    config = """backend: "python"
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: [-1] }
        output { name: "y" data_type: TYPE_FP32 dims: [-1] }
        instance_group { count: 2 kind: KIND_CPU }"""
    write_model(tmp_path, "double", config, {"1/model.py": TRITON_MODEL})
    port = free_port()

    async def ask(client: aiohttp.ClientSession, value: float) -> tuple[int, Any]:
        x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [value, -2]}
        async with client.post("/v2/models/double/infer", json={"inputs": [x]}) as answer:
            return answer.status, await answer.json()

    async with (
        running_gateway((f"127.0.0.1:{port}",), hold_s=0.5) as gateway,
        aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as client,
    ):
        async with triton(tmp_path, port):
            await eventually(lambda: gateway.fleet.ready, 120)
            answers = await asyncio.gather(*[ask(client, float(n)) for n in range(40)])
            assert [s for s, _ in answers] == [200] * 40
            assert [b["outputs"][0]["data"] for _, b in answers] == [[2.0 * n, -4.0] for n in range(40)]
            async with client.post("/predict", json={"features": [1, 5], "model_name": "double"}) as answer:
                said = await answer.json()
                assert (answer.status, said["class_id"], said["error"]) == (200, 1, "")
            async with client.get("/v2/models/double") as answer:
                print(await answer.json())
            place = next(iter(gateway.fleet.pods.values())).replicas["double", "1"]
            assert place.info.slots == 2
            assert place.info.signature.max_batch_size == 8
        assert (await ask(client, 1.0))[0] == 503
        async with triton(tmp_path, port):
            await eventually(lambda: gateway.fleet.ready, 120)
            assert (await ask(client, 1.0))[0] == 200
