"""LogSettings at a pod: the processes of Python models follow its level while they run."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from inferencehub.core.oip.messages import SERVICE
from inferencehub.core.values.tensors import pack_bytes
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import eventually, running_pod, write_model
from tests.inference.pod_processes import infer_of

TALKER = """
import logging, os, threading, time

class Model:
    def __init__(self, directory, parameters):
        threading.Thread(target=self.ticks, daemon=True).start()

    def ticks(self):
        while True:
            time.sleep(0.01)
            logging.getLogger("ticks").debug("tick")

    %sdef predict(self, inputs):
        [said] = inputs["say"].ravel()
        if said == b"crash": os._exit(3)
        if said == b"quiet": logging.getLogger().setLevel("WARNING")
        logging.getLogger("mine").debug("debug: " + said.decode())
        logging.getLogger("mine").info("info: " + said.decode())
        logging.getLogger("mine").warning("warning: " + said.decode())
        return {"y": [1]}
"""
CONFIG = """backend: "python" parameters { key: "max_in_flight" value { string_value: "%d" } }
    input { name: "say" data_type: TYPE_STRING dims: [ 1 ] }
    output { name: "y" data_type: TYPE_INT64 dims: [ 1 ] }"""
Say = Callable[[str], Any]
Debug = Callable[[bool | None], Any]


@asynccontextmanager
async def talking(folder: Path, kind: str) -> AsyncIterator[tuple[Say, Debug]]:
    """A pod with such a model: calls it, and turns the level debug on or off, or reads the settings."""
    in_flight = 4 if kind == "async" else 1
    write_model(folder, "m", CONFIG % in_flight, {"1/model.py": TALKER % ("async " if in_flight > 1 else "")})
    async with (
        running_pod(folder) as pod,
        grpc.aio.insecure_channel(f"127.0.0.1:{pod.port}") as channel,
    ):
        infer = infer_of(channel)
        settings: Any = channel.unary_unary(
            f"/{SERVICE}/LogSettings",
            request_serializer=pb.LogSettingsRequest.SerializeToString,
            response_deserializer=pb.LogSettingsResponse.FromString,
        )

        async def say(text: str) -> None:
            await eventually(lambda: pod.models.serves("m"))  # its process may be about to be replaced
            message = pb.ModelInferRequest(model_name="m", raw_input_contents=[pack_bytes([text.encode()])])
            message.inputs.add(name="say", datatype="BYTES", shape=[1])
            await infer(message)

        async def debug(on: bool | None) -> None:
            request = pb.LogSettingsRequest()
            if on is not None:
                request.settings["log_verbose_level"].uint32_param = int(on)
            await settings(request)

        yield say, debug


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_running_processes_follow_it_and_so_do_later_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    def said(text: str) -> bool:
        return text in [record.getMessage() for record in caplog.records if record.name == "model"]

    logging.getLogger().setLevel("INFO")  # the fixture would keep debug lines from itself
    async with talking(tmp_path, kind) as (say, debug):
        await say("before")
        await eventually(lambda: said("info: before"))
        await debug(True)
        await say("on")
        await eventually(lambda: said("info: on"))
        with pytest.raises(grpc.aio.AioRpcError):
            await say("crash")
        await say("later")
        await eventually(lambda: said("info: later"))
        await debug(False)
        await say("off")
        await eventually(lambda: said("info: off"))
    assert [text for text in ("before", "on", "later", "off") if said(f"debug: {text}")] == ["on", "later"]


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_process_without_a_call_follows_it_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    logging.getLogger().setLevel("INFO")  # the fixture would keep debug lines from itself
    async with talking(tmp_path, kind) as (_, debug):
        assert "tick" not in caplog.text
        await debug(True)
        await eventually(lambda: "tick" in caplog.text)


async def test_who_reads_the_settings_leaves_the_level_that_a_model_has_set(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def said(text: str) -> bool:
        return text in [record.getMessage() for record in caplog.records if record.name == "model"]

    logging.getLogger().setLevel("INFO")  # of the service
    async with talking(tmp_path, "plain") as (say, debug):
        await say("quiet")
        await debug(None)
        await say("after")
        await eventually(lambda: said("warning: after"))
        assert not said("info: after")
