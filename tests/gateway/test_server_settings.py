"""Log and trace settings, and features that are not there: the same at the gateway and at a pod, for Triton's clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from google.protobuf.json_format import MessageToDict
from tritonclient.utils import InferenceServerException

from tests.hub import Hub, mock_model, running_hub

CONTROL = "models are not loaded or unloaded "
MEMORY = "shared memory is not supported: tensors are sent in the message itself"
TRACING = "tracing is not supported: trace settings cannot be changed"
QUIET = {
    "log_file": "",
    "log_info": False,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "json",
}


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """The level of the log is that of the process, so it is set, and put back."""
    before = logging.getLogger().level
    logging.getLogger().setLevel(logging.WARNING)
    yield
    logging.getLogger().setLevel(before)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    mock_model(tmp_path, "quick")
    async with running_hub(tmp_path) as running:
        yield running


def clients(hub: Hub) -> tuple[tuple[Callable[[], Any], bool], ...]:
    return (
        (lambda: triton_http.InferenceServerClient(hub.url.removeprefix("http://")), False),
        (lambda: triton_grpc.InferenceServerClient(f"127.0.0.1:{hub.pods[0].port}"), True),
    )


async def ask(make: Callable[[], Any], method: str, *arguments: Any, **named: Any) -> Any:
    """The result of a method of a client, in a thread; the status and the sentence if it is refused."""

    def run() -> Any:
        with make() as client:
            try:
                return getattr(client, method)(*arguments, **named)
            except InferenceServerException as error:
                return error.status(), error.message()

    return await asyncio.to_thread(run)


def plain(answer: Any) -> Any:
    """An answer of either client with log settings, as a dict."""
    if isinstance(answer, dict):
        return answer
    return {
        name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in answer.settings.items()
    }


async def test_log_settings_are_true_and_the_level_can_be_changed(hub: Hub) -> None:
    for make, _ in clients(hub):
        assert plain(await ask(make, "get_log_settings")) == QUIET
        answer = await ask(make, "update_log_settings", {"log_info": True})
        assert plain(answer) == {**QUIET, "log_info": True}
        assert logging.getLogger().level == logging.INFO
        answer = await ask(make, "update_log_settings", {"log_verbose_level": 1, "log_info": True})
        assert plain(answer) == {**QUIET, "log_info": True, "log_verbose_level": 1}
        assert logging.getLogger().level == logging.DEBUG
        answer = await ask(make, "update_log_settings", {"log_warning": False})
        assert plain(answer) == {**QUIET, "log_warning": False}
        answer = await ask(make, "update_log_settings", {"log_error": False})
        assert not plain(answer)["log_error"]
        answer = await ask(make, "update_log_settings", {"log_warning": True})
        assert plain(answer) == QUIET
        same = await ask(make, "update_log_settings", {"log_file": "", "log_format": "json"})
        assert plain(same) == QUIET


@pytest.mark.parametrize(
    ("settings", "status", "sentence"),
    [
        (
            {"log_file": "x.log"},
            501,
            "log setting 'log_file' cannot be changed, expected one of log_error, log_info",
        ),
        ({"log_format": "ISO8601"}, 501, "log setting 'log_format' cannot be changed"),
        ({"colour": True}, 501, "log setting 'colour' cannot be changed"),
        ({"log_info": True, "log_error": False}, 501, "are not supported, expected each level to be on"),
        ({"log_info": "yes"}, 400, "log setting 'log_info' is 'yes', expected true or false"),
        (
            {"log_verbose_level": True},
            400,
            "log setting 'log_verbose_level' is True, expected a whole number",
        ),
    ],
)
async def test_other_log_settings_are_refused(
    hub: Hub, settings: dict[str, Any], status: int, sentence: str
) -> None:
    typed = clients(hub)[: 1 if status == 400 else 2]  # over gRPC each setting has its type
    for make, is_grpc in typed:
        code, said = await ask(make, "update_log_settings", settings)
        assert code == ("StatusCode.UNIMPLEMENTED" if is_grpc else str(status))
        assert sentence in said
    assert logging.getLogger().level == logging.WARNING
    for bad in (b"[]", b"{", b"1"):
        answered, answer, _ = await hub.post("/v2/logging", bad)
        assert answered == 400
        assert answer["error"]


async def test_trace_settings_say_that_tracing_is_off(hub: Hub) -> None:
    expected = {
        "trace_level": ["OFF"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "",
        "trace_mode": "triton",
    }
    for make, is_grpc in clients(hub):
        for model in (None, "quick"):
            found = await ask(make, "get_trace_settings", model)
            if is_grpc:
                settings = MessageToDict(found)["settings"]
                found = {name: value["value"] for name, value in settings.items()}
                assert found == {n: v if isinstance(v, list) else [v] for n, v in expected.items()}
            else:
                assert found == expected
            refused = await ask(make, "update_trace_settings", model, {"trace_rate": "5"})
            assert refused == ("StatusCode.UNIMPLEMENTED" if is_grpc else "501", TRACING)
        code, said = await ask(make, "get_trace_settings", "none")
        assert code == ("StatusCode.NOT_FOUND" if is_grpc else "404")
        assert said.startswith("model 'none' is unknown")


async def test_shared_memory_has_no_regions_and_takes_none(hub: Hub) -> None:
    for make, is_grpc in clients(hub):
        refused = ("StatusCode.UNIMPLEMENTED" if is_grpc else "501", MEMORY)
        for kind in ("system", "cuda"):
            status = await ask(make, f"get_{kind}_shared_memory_status")
            assert (MessageToDict(status) if is_grpc else status) == ({} if is_grpc else [])
            for name in ("", "region"):
                ended = await ask(make, f"unregister_{kind}_shared_memory", name)
                assert ended is None
            code, said = await ask(make, f"get_{kind}_shared_memory_status", "r")
            assert code == ("StatusCode.NOT_FOUND" if is_grpc else "404")
            assert said == f"there is no {kind} shared memory region 'r'"
        assert await ask(make, "register_system_shared_memory", "r", "/r", 8) == refused
        assert await ask(make, "register_cuda_shared_memory", "r", b"aGFuZGxl", 0, 8) == refused


async def test_tensors_in_shared_memory_are_refused(hub: Hub) -> None:
    for make, is_grpc in clients(hub):
        module: Any = triton_grpc if is_grpc else triton_http
        there, here = (module.InferInput("features", [2], "FP32") for _ in range(2))
        there.set_shared_memory("r", 8)
        here.set_data_from_numpy(np.ones(2, np.float32))
        output = module.InferRequestedOutput("class_id")
        output.set_shared_memory("r", 4)
        for tensor, outputs, name in (
            (there, None, "input 'features'"),
            (here, [output], "output 'class_id'"),
        ):
            code, said = await ask(make, "infer", "quick", [tensor], outputs=outputs)
            assert code == ("StatusCode.UNIMPLEMENTED" if is_grpc else "501")
            assert name in said
            assert "shared_memory" in said


async def test_model_control_is_refused(hub: Hub) -> None:
    for make, is_grpc in clients(hub):
        way = "by calls: HUB_MODEL_CONTROL is 'none'" if is_grpc else "through a gateway"
        for call in ("load_model", "unload_model"):
            code, said = await ask(make, call, "quick")
            assert code == ("StatusCode.UNIMPLEMENTED" if is_grpc else "501")
            assert said.startswith(CONTROL + way)


async def test_what_is_announced_works_and_the_rest_is_not_announced(hub: Hub) -> None:
    announced = {"classification", "logging", "model_configuration", "parameters", "statistics"}
    async with triton_http_aio.InferenceServerClient(hub.url.removeprefix("http://")) as client:
        server = await client.get_server_metadata()
        assert set(server["extensions"]) == announced | {"binary_tensor_data", "generate"}
        assert await client.get_log_settings() == QUIET
        assert await client.update_log_settings({"log_info": False}) == QUIET
        assert (await client.get_inference_statistics("quick"))["model_stats"]
        assert (await client.get_model_config("quick"))["name"] == "quick"
    make, _ = clients(hub)[1]
    extensions = (await ask(make, "get_server_metadata")).extensions
    assert {name for name in extensions if "inferencehub" not in name} == announced


async def test_no_sequence_and_any_priority_are_accepted(hub: Hub) -> None:
    body: dict[str, Any] = {"inputs": [{"name": "features", "shape": [1], "datatype": "FP32", "data": [1]}]}
    for accepted in ({"sequence_id": 0}, {"sequence_id": ""}, {"priority": 0}, {"priority": 7}):
        status, _, _ = await hub.post("/v2/models/quick/infer", {**body, "parameters": accepted})
        assert status == 200, accepted
    for refused in (
        {"sequence_id": 5},
        {"sequence_id": "a"},
        {"sequence_start": True},
        {"sequence_end": True},
    ):
        status, answer, _ = await hub.post("/v2/models/quick/infer", {**body, "parameters": refused})
        assert status == 501, refused
        assert f"parameter '{next(iter(refused))}'" in answer["error"]

    for make, is_grpc in clients(hub):
        module: Any = triton_grpc if is_grpc else triton_http
        tensor = module.InferInput("features", [2], "FP32")
        tensor.set_data_from_numpy(np.ones(2, np.float32))
        answer = await ask(make, "infer", "quick", [tensor], sequence_id=0, priority=3)
        assert answer.as_numpy("class_id").shape == (1,)
        code, said = await ask(make, "infer", "quick", [tensor], sequence_id=9, sequence_start=True)
        assert code == ("StatusCode.UNIMPLEMENTED" if is_grpc else "501")
        assert "sequence" in said
