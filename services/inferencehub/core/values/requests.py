"""The request and the answer that travel through both tiers, whatever protocol they came by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.tensors import Tensor
from inferencehub.core.values.value_class import value_class

Parameter = bool | int | float | str


def size_of(tensors: tuple[Tensor, ...]) -> int:
    """Bytes of all of them."""
    return len(tensors[0].data) if len(tensors) == 1 else sum([len(tensor.data) for tensor in tensors])


@value_class(frozen=True, slots=True)
class InferRequest:
    """A call of one model.

    Args:
        model: the model's name.
        version: the version, "" for the model's default one.
        inputs: the tensors, in the order of the model's metadata once `Signature.check` has seen them.
        outputs: names of the wanted outputs, () for all.
        parameters: what the caller passed on to the model; part of what decides whether two requests may merge.
    """

    model: str
    version: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all inputs."""
        return size_of(self.inputs)

    def with_inputs(self, inputs: tuple[Tensor, ...]) -> InferRequest:
        """The same call over other tensors."""
        return InferRequest(self.model, self.version, inputs, self.outputs, self.parameters)


@dataclass(slots=True)
class Times:
    """Where a request's time went, in seconds; a pod knows queue and compute, the gateway adds the rest."""

    queue: float = 0.0
    batch: float = 0.0
    network: float = 0.0
    compute: float = 0.0


@value_class(frozen=True, slots=True)
class Trip:
    """What all jobs of a batch share that was answered.

    Args:
        rows: how many it had.
        size: bytes of its outputs.
        served_by: the address of the pod.
        batch, network, compute: as in `Times`.
    """

    rows: int = 0
    size: int = 0
    served_by: str = ""
    batch: float = 0.0
    network: float = 0.0
    compute: float = 0.0


NO_TRIP = Trip()


@value_class(frozen=True, slots=True)
class InferResponse:
    """A model's answer.

    Args:
        model: the model's name.
        version: the version that ran.
        outputs: the tensors, in the order of the metadata or of the request's `outputs`.
        parameters: what the model or the server says beside them.
    """

    model: str
    version: str
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all outputs."""
        return size_of(self.outputs)

    def output(self, name: str) -> Tensor:
        """The output called `name`.

        Raises:
            HubError: MODEL_FAILED where the model gave none of that name.
        """
        for tensor in self.outputs:
            if tensor.name == name:
                return tensor
        raise HubError(Kind.MODEL_FAILED, f"model '{self.model}' gave no output '{name}'")
