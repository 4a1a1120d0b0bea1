"""A Python model that answers the number in its file value.txt, and a pod that serves it while its files change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from struct import pack, unpack
from time import monotonic
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from inferencehub.core.oip import messages
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import open_inference_pb2 as pb
from tests.hub import write_model
from tests.inference.pod_processes import Pod
from tests.written import request_to_proto

SOURCE = """
import os
import time
from pathlib import Path


class Model:
    def __init__(self, directory, parameters):
        self.value = float((directory / "value.txt").read_text())
        self.held = Path(parameters["held"])

    def predict(self, inputs):
        if inputs["x"][0] < 0:
            os._exit(1)
        while inputs["x"][0] > 0 and self.held.exists():
            time.sleep(0.01)
        return {"y": [self.value]}
"""
WAIT = 1.0  # the input with which a call lasts as long as the file `held` is there
CRASH = -1.0
WITHIN_S = 30.0


def valued(repository: Path, values: Mapping[str, str], name: str = "m", more: str = "") -> None:
    """Write such a model.

    Args:
        repository: its repository; `held` in the directory beside it lets calls last.
        values: the text of value.txt for each version.
        name: of the model.
        more: of its config.
    """
    config = f"""backend: "python"
        input {{ name: "x" data_type: TYPE_FP32 dims: [ 1 ] }}
        output {{ name: "y" data_type: TYPE_FP32 dims: [ 1 ] }}
        parameters {{ key: "held" value {{ string_value: "{repository.parent / "held"}" }} }}
        {more}"""
    files = {f"{version}/value.txt": value for version, value in values.items()}
    sources = {f"{version}/model.py": SOURCE for version in values}
    repository.mkdir(exist_ok=True)
    write_new(repository, name, config, {**sources, **files})


def write_new(repository: Path, name: str, config: str, files: Mapping[str, str]) -> None:
    """Write a model under a hidden name, and then give it its own: it comes whole."""
    hidden = f".{name}"
    write_model(repository, hidden, config, files)
    first = repository / hidden / "1"
    if not any(path.startswith("1/") for path in files):
        first.rmdir()
    (repository / hidden).rename(repository / name)


def calling(value: float = 0.0, version: str = "", name: str = "m") -> pb.ModelInferRequest:
    """A request of such a model."""
    tensor = Tensor("x", "FP32", (1,), pack("<f", value))
    return request_to_proto(InferRequest(name, version, (tensor,)))


async def answer(pod: Pod, value: float = 0.0, version: str = "", name: str = "m") -> float:
    """What the model answers."""
    reply = await pod.infer(calling(value, version, name))
    return float(unpack("<f", reply.raw_output_contents[0])[0])


async def becomes(pod: Pod, expected: float, version: str = "", name: str = "m") -> None:
    """Wait until the model answers `expected`. No call may fail meanwhile."""
    seen: list[float] = []

    async def ask() -> bool:
        seen.append(await answer(pod, version=version, name=name))
        return seen[-1] == expected

    await until(ask)


async def until(condition: Any) -> None:
    """`eventually`, for a condition that has to be awaited."""
    started = monotonic()
    while not await condition():
        assert monotonic() - started < WITHIN_S, f"not within {WITHIN_S} s: {condition}"
        await asyncio.sleep(0.01)


async def index(pod: Pod, name: str = "m") -> dict[str, tuple[str, str]]:
    """State and reason of each version in the pod's index of its repository."""
    call = pod.channel.unary_unary(
        f"/{messages.SERVICE}/RepositoryIndex",
        request_serializer=pb.RepositoryIndexRequest.SerializeToString,
        response_deserializer=pb.RepositoryIndexResponse.FromString,
    )
    reply = await call(pb.RepositoryIndexRequest())
    return {entry.version: (entry.state, entry.reason) for entry in reply.models if entry.name == name}


async def samples(pod: Pod, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by its label values."""
    page = f"http://127.0.0.1:{pod.server.ops.port}/metrics"
    async with aiohttp.ClientSession() as client, client.get(page) as reply:
        families = list(text_string_to_metric_families(await reply.text()))
    return {
        tuple(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }
