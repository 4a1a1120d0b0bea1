"""Runtimes: one file each, one class each, all the same contract.

A runtime object is one version of one model with all its instances. `run` is called for one instance at a time, from
the event loop, and must not hold the loop: native code that lets go of the GIL goes to a thread, unless it is very
short, and a user's Python to a process of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import model_config_pb2 as config_pb


class RuntimeKind(NamedTuple):
    """Where a runtime's class is, and the model file that it looks for unless config.pbtxt names one; "" for none."""

    name: str
    location: str
    model_file: str = ""


ONNX = RuntimeKind("onnx", "onnx:Onnx", "model.onnx")
# By the names that `backend` or `platform` in config.pbtxt may have. A class is imported when it is first used, so that
# a pod without ONNX models never loads onnxruntime.
RUNTIMES = {
    "mock": RuntimeKind("mock", "mock:Mock"),
    "sentiment": RuntimeKind("sentiment", "sentiment.runtime:SentimentRuntime"),
    "onnx": ONNX,
    "onnxruntime": ONNX,
    "onnxruntime_onnx": ONNX,
    "python": RuntimeKind("python", "python.runtime:Python", "model.py"),
}


EmitOutputs = Callable[[tuple[Tensor, ...]], None]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What a runtime is made from.

    Args:
        name: the model's name.
        version: the name of its version directory.
        directory: the version directory.
        file: the model file in it; the directory itself where the runtime has none.
        config: config.pbtxt, checked.
        instances: how many instances to make, at least 1.
    """

    name: str
    version: str
    directory: Path
    file: Path
    config: config_pb.ModelConfig
    instances: int

    def parameter(self, name: str, default: str) -> str:
        """A string parameter of the config."""
        return self.config.parameters[name].string_value if name in self.config.parameters else default


class Runtime(ABC):
    """One loaded version of a model."""

    def __init__(self, source: ModelSource) -> None:
        self.source = source
        # Called with its number when an instance breaks while it is idle; whoever hands out the instances sets it
        # before `load`.
        self.on_change: Callable[[int], None] = lambda instance: None

    @abstractmethod
    async def load(self) -> Signature:
        """Load all instances, run something once where the first run is slow, and say what the model takes and gives.

        Raises:
            HubError: MODEL_FAILED or BAD_INPUT with a sentence for whoever wrote the model or its config.
        """

    @abstractmethod
    async def run(
        self, instance: int, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...] | None:
        """Run a checked request on one instance; the outputs in the signature's order, all of them.

        A model that gives several answers emits each, and None is returned.

        Returns, raises or lets itself be cancelled only when the instance has really ended the work, so that the next
        run never meets it busy.

        Args:
            instance: from 0 to `source.instances` - 1; never twice at a time.
            request: its first dimension holds the rows of all merged calls.
            deadline: on the clock of `time.monotonic`; nobody wants the answer afterwards.
            emit: takes the outputs of one of several answers.

        Raises:
            HubError: MODEL_FAILED, DEADLINE or BAD_INPUT.
        """

    def recovery(self, instance: int) -> Awaitable[None] | None:
        """None while the instance is fine; else what ends when it can run again."""
        return None

    async def unload(self) -> None:
        """Let everything go; nothing runs any more."""
        return


def failed_run(model: str) -> HubError:
    """What a caller reads where a model's own code failed: the details are for the log alone."""
    return HubError(Kind.MODEL_FAILED, f"model '{model}' failed on this request; its pod's log says why")


def runtime_of(config: config_pb.ModelConfig) -> str:
    """The runtime's name that a config asks for, as a key of `RUNTIMES`.

    Raises:
        HubError: BAD_INPUT where there is none of that name.
    """
    name = config.backend or config.platform
    if name not in RUNTIMES:
        raise HubError(Kind.BAD_INPUT, f"backend '{name}' is unknown, expected one of {', '.join(RUNTIMES)}")
    return name


def make_runtime(name: str, source: ModelSource) -> Runtime:
    """The runtime called `name`, not loaded yet."""
    module, _, cls = RUNTIMES[name].location.partition(":")
    runtime: Runtime = getattr(import_module(f"{__package__}.{module}"), cls)(source)
    return runtime
