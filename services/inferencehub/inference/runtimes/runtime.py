"""The contract of runtimes: what the classes that run models have in common.

A runtime object is one version of one model with all its instances. The event loop calls `run`, for each instance only
one call at a time. `run` must not block the loop. Native code that releases the GIL runs in a thread, or directly on
the loop if it is very short. A user's Python runs in a separate process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from inferencehub.core.oip.ensembles.steps import PLATFORM
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.own_metrics import OwnMetrics
from inferencehub.inference.runtimes.calling.running import Gateway
from inferencehub.inference.runtimes.support.error_text import first_line
from inferencehub.inference.settings import InferenceSettings
from inferencehub.pb import model_config_pb2 as config_pb


class RuntimeKind(NamedTuple):
    """A kind of model.

    Args:
        name: its name in config.pbtxt.
        location: where its class is, `module:Class`.
        model_files: the names that its model file (or directory) may have, the first one that exists is taken; () if it needs
            none.
        extra: the extra of pyproject.toml with its library; "" if each pod has it.
    """

    name: str
    location: str
    model_files: tuple[str, ...] = ()
    extra: str = ""


ONNX = RuntimeKind("onnx", "onnx.runtime:Onnx", ("model.onnx",))
TENSORFLOW = RuntimeKind("tensorflow", "tensorflow.runtime:Tensorflow", ("model.savedmodel",), "tensorflow")
PYTORCH = RuntimeKind("pytorch", "torch.runtime:Torch", ("model.pt2", "model.pt"), "torch")
# The runtimes by the values of `backend` or `platform` in config.pbtxt. A class is imported when it is first used, so a
# pod without ONNX models never loads onnxruntime.
RUNTIMES = {
    "mock": RuntimeKind("mock", "mock:Mock"),
    "sentiment": RuntimeKind("sentiment", "sentiment.runtime:SentimentRuntime"),
    "onnx": ONNX,
    "onnxruntime": ONNX,
    "onnxruntime_onnx": ONNX,
    "python": RuntimeKind("python", "python.runtime:Python", ("model.py",)),
    PLATFORM: RuntimeKind(PLATFORM, "ensemble:Ensemble"),
    "sklearn": RuntimeKind(
        "sklearn", "sklearn.runtime:Sklearn", ("model.skops", "model.joblib", "model.pkl"), "sklearn"
    ),
    "lightgbm": RuntimeKind("lightgbm", "boosters.runtime:LightGbm", ("model.txt",), "lightgbm"),
    "xgboost": RuntimeKind("xgboost", "boosters.runtime:XgBoost", ("model.ubj", "model.json"), "xgboost"),
    "tensorflow": TENSORFLOW,
    "tensorflow_savedmodel": TENSORFLOW,
    "pytorch": PYTORCH,
    "pytorch_libtorch": PYTORCH,
    "torch": PYTORCH,
}


# Takes the outputs of one of several answers, and their weight (`core/lane/sink.py`).
EmitOutputs = Callable[[tuple[Tensor, ...], int], None]


@dataclass(frozen=True, slots=True)
class ProcessRules:
    """What the service's settings say about processes that run models.

    Args:
        grace_s: seconds that a run may go on beyond its deadline, at most, before its process is killed.
        max_answer_bytes: bytes of the outputs that one call gets as its answer, at most.
        environment: names and patterns of further environment variables that they get.
        allow_pickle: whether they may load a pickle, which runs code when it is loaded.
        gateway: where their calls of other models go; None if no setting says it.
    """

    grace_s: float = 30.0
    max_answer_bytes: int = 64 * 2**20
    environment: tuple[str, ...] = ()
    allow_pickle: bool = False
    gateway: Gateway | None = None

    @classmethod
    def of(cls, settings: InferenceSettings, gateway: Gateway | None = None) -> ProcessRules:
        """The rules in the settings of a pod; `gateway` is the client that it has made of them."""
        grace_s, most = settings.model_grace_s, settings.max_message_bytes
        return cls(grace_s, most, settings.model_env, settings.allow_pickle, gateway)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What a runtime is made from.

    Args:
        name: the model's name.
        version: the name of its version directory.
        directory: the version directory.
        file: the model file in that directory; the directory itself if the runtime needs no file.
        config: the checked config.pbtxt.
        instances: how many instances to make, at least 1.
        processes: rules for the model's processes, if it has any.
        original: the model's directory in the repository if `directory` is in a copy of it; None if it is not.
    """

    name: str
    version: str
    directory: Path
    file: Path
    config: config_pb.ModelConfig
    instances: int
    processes: ProcessRules = ProcessRules()
    original: Path | None = None

    def parameter(self, name: str, default: str) -> str:
        """A string parameter of the config, or `default` if it is not set."""
        return self.config.parameters[name].string_value if name in self.config.parameters else default


class Runtime(ABC):
    """One loaded version of a model."""

    gives_several = False  # whether its models may give several answers
    on_gpu = False  # whether its models may run on a GPU
    needs_callers = False  # whether `run` reads the request's `callers`
    # A few words about the version of its library that wrote the file, if it is not the one here.
    written = ""

    def __init__(self, source: ModelSource) -> None:
        self.source = source
        # The runtime calls this with an instance's number if that instance breaks while it is idle. The model sets it
        # before `load`.
        self.on_change: Callable[[int], None] = lambda instance: None
        self.own_metrics = OwnMetrics(source.name, source.version)  # the model sets those that its pod shows

    @property
    def slots_each(self) -> int:
        """How many calls each instance may run at the same time. Instance i has the slots from i * slots_each on."""
        return 1

    @abstractmethod
    async def load(self) -> Signature:
        """Load all instances. The model is not run: `models/warmup.py` does that where the config asks for it.

        Returns:
            The model's inputs and outputs.

        Raises:
            HubError: MODEL_FAILED or BAD_INPUT, with a sentence for the author of the model or its config.
        """

    @abstractmethod
    async def run(
        self, instance: int, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...] | None:
        """Run a checked request on one instance.

        It returns, raises or ends with a cancellation only when the instance has really finished the work. So the next
        run never finds the instance busy.

        Args:
            instance: the number of a slot, from 0 to `source.instances * slots_each` - 1; no two runs of a slot overlap.
            request: the request; if the model batches, it contains the rows of all merged calls.
            deadline: in seconds of `time.monotonic`; after it, no caller wants the answer. A run that hangs must be
                ended, some time after it.
            emit: takes the outputs of one answer, if the model gives several.

        Returns:
            All outputs, in the signature's order; None if all answers were emitted.

        Raises:
            HubError: MODEL_FAILED, DEADLINE or BAD_INPUT.
        """

    def credit(self, instance: int, size: int) -> None:
        """Answers of this weight have reached the caller of the instance's run: it may give more."""
        return

    def watch(self, instance: int, tell: Callable[[float], None]) -> None:
        """Somebody wants to know how far the instance's next run is: `tell` gets it, from 0 to 1, where its model tells it."""
        return

    def log_at(self, level: int) -> None:
        """The service logs from this level of the module `logging` on: so do its processes."""
        return

    def recovery(self, instance: int) -> Awaitable[None] | None:
        """None if the instance works; else an awaitable that ends when the instance can run again."""
        return None

    async def unload(self) -> None:
        """Release everything. No run may be active."""
        return


def not_installed(name: str, error: ImportError) -> str:
    """The sentence for a runtime whose library is missing; `name` is a key of `RUNTIMES`."""
    extra = RUNTIMES[name].extra
    way = f": install inferencehub[{extra}], or build the image with EXTRAS={extra}" if extra else ""
    return f"backend '{name}' is not installed here, {first_line(error)}{way}"


def runtime_of(config: config_pb.ModelConfig) -> str:
    """The runtime that a config asks for, as a key of `RUNTIMES`.

    Raises:
        HubError: BAD_INPUT if there is no such runtime.
    """
    name = config.backend or config.platform
    if name not in RUNTIMES:
        raise HubError(Kind.BAD_INPUT, f"backend '{name}' is unknown, expected one of {', '.join(RUNTIMES)}")
    return name


def make_runtime(name: str, source: ModelSource) -> Runtime:
    """Create the runtime object for a model; it is not loaded yet. `name` is a key of `RUNTIMES`.

    Raises:
        HubError: BAD_INPUT if the model shall give several answers, or run on a GPU, and the runtime does not.
    """
    module, _, cls = RUNTIMES[name].location.partition(":")
    runtime: Runtime = getattr(import_module(f"{__package__}.{module}"), cls)(source)
    if source.config.model_transaction_policy.decoupled and not runtime.gives_several:
        raise HubError(
            Kind.BAD_INPUT,
            f"config.pbtxt sets 'model_transaction_policy.decoupled', and models of backend '{name}' give one answer",
        )
    gpu = config_pb.ModelInstanceGroup.KIND_GPU
    if not runtime.on_gpu and any(group.kind == gpu for group in source.config.instance_group):
        raise HubError(
            Kind.BAD_INPUT,
            f"config.pbtxt: instance_group of KIND_GPU, and the service places no models of backend '{name}' on a GPU; "
            "expected KIND_CPU, KIND_AUTO or KIND_MODEL",
        )
    return runtime
