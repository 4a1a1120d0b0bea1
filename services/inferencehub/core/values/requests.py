"""The request and the answer of a model call. Both tiers use them for every protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.structs.struct import Struct, replace
from inferencehub.core.values.tensors import Tensor

Parameter = bool | int | float | str
# The parameter of a request that a model makes, and not a caller: how many such requests are within each other.
CALL_DEPTH = "call_depth"


def size_of(tensors: tuple[Tensor, ...]) -> int:
    """Bytes of all tensors together."""
    return len(tensors[0].data) if len(tensors) == 1 else sum([len(tensor.data) for tensor in tensors])


class Callers(Struct, frozen=True, array_like=True):
    """What a runtime may know of the calls that share its run.

    Args:
        id: the caller's name for the request; for several those of all callers, separated by commas.
        calls: how many they are; each gets a message of its own as its answer.
        traceparent, tracestate: the run's place in its trace, for what the model calls (W3C Trace Context); "" if it has none.
    """

    id: str = ""
    calls: int = 1
    traceparent: str = ""
    tracestate: str = ""


NO_CALLERS = Callers()


class InferRequest(Struct, frozen=True):
    """A call of one model.

    Args:
        model: the model's name.
        version: the model's version; "" for the default version.
        inputs: the input tensors; after `Signature.check` they are in the order of the model's metadata.
        outputs: names of the outputs that the caller wants; () for all.
        parameters: the caller's parameters for the model; requests merge only if these are equal.
        classes: for each of `outputs`, how many of its highest values the caller wants as classes, 0 for the plain
            tensor; () if all are plain.
        callers: whose calls it is, for a runtime that needs them.
    """

    model: str
    version: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = {}
    classes: tuple[int, ...] = ()
    callers: Callers = NO_CALLERS

    @property
    def size(self) -> int:
        """Bytes of all inputs."""
        return size_of(self.inputs)

    def with_inputs(self, inputs: tuple[Tensor, ...]) -> InferRequest:
        """The same call over other tensors."""
        return InferRequest(self.model, self.version, inputs, self.outputs, self.parameters, self.classes)

    def with_parameters(self, more: Mapping[str, Parameter]) -> InferRequest:
        """The same call with these parameters besides its own."""
        return replace(self, parameters={**self.parameters, **more})

    def with_callers(self, callers: Callers) -> InferRequest:
        """The same call with its callers."""
        return replace(self, callers=callers)


@dataclass(slots=True)
class Times:
    """Where a request's time went, in seconds. The pod measures `queue` and `compute`; the gateway adds the rest.

    `input` and `output` are parts of `compute`: before the model itself ran, and after it.
    """

    queue: float = 0.0
    batch: float = 0.0
    network: float = 0.0
    compute: float = 0.0
    input: float = 0.0
    output: float = 0.0


class Trip(Struct):
    """Facts about an answered batch that all its jobs share.

    Args:
        rows: rows of the batch.
        size: bytes of the batch's outputs.
        served_by: address of the pod that answered.
        version: the version of the model that ran; "" if its server names none.
        batch, network, compute, input, output: seconds, as in `Times`.

    `span` has the id of the trace and the number of the run's span, if the run has several calls and so a trace of its own.
    `counted` is False until an answer to a gateway has counted the run, which is the only change after the answer.
    """

    rows: int = 0
    size: int = 0
    served_by: str = ""
    batch: float = 0.0
    network: float = 0.0
    compute: float = 0.0
    input: float = 0.0
    output: float = 0.0
    counted: bool = False
    span: tuple[str, int] | None = None
    version: str = ""


NO_TRIP = Trip()


class InferResponse(Struct, frozen=True):
    """A model's answer.

    Args:
        model: the model's name.
        version: the version that ran.
        outputs: the output tensors, in the order of the model's metadata or of the request's `outputs`.
        parameters: further values from the model or the server.
    """

    model: str
    version: str
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, Parameter] = {}

    @property
    def size(self) -> int:
        """Bytes of all outputs."""
        return size_of(self.outputs)

    def output(self, name: str) -> Tensor:
        """The output called `name`.

        Raises:
            HubError: MODEL_FAILED if the model gave no output of that name.
        """
        for tensor in self.outputs:
            if tensor.name == name:
                return tensor
        raise HubError(Kind.MODEL_FAILED, f"model '{self.model}' gave no output '{name}'")
