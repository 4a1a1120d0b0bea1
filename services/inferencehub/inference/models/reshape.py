"""`reshape` in a config: a caller sees `dims`, the model gets or gives another shape with the same elements.

As in Triton, both shapes have the same number of dimensions of -1, and between these the same number of elements. Unlike
Triton, a model without batches may have an empty shape: that is how a config writes a scalar.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from math import prod

from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature, TensorSpec
from inferencehub.core.values.tensors import Tensor
from inferencehub.pb import model_config_pb2 as config_pb

Shape = tuple[int, ...]
Entry = config_pb.ModelInput | config_pb.ModelOutput


class Reshapes:
    """The reshapes of a config; false if it has none.

    Args:
        config: a config that `check_reshapes` has passed.
    """

    def __init__(self, config: config_pb.ModelConfig) -> None:
        self.model = config.name
        batch = (-1,) if config.max_batch_size else ()
        self.inputs, self.outputs = (shapes_of(entries, batch) for entries in (config.input, config.output))

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs)

    def signature(self, of_model: Signature) -> Signature:
        """The signature that callers see, from that of the model."""
        return replace(
            of_model,
            inputs=tuple([seen(spec, self.inputs) for spec in of_model.inputs]),
            outputs=tuple([seen(spec, self.outputs) for spec in of_model.outputs]),
        )

    def to_model(self, request: InferRequest) -> InferRequest:
        """A checked request of a caller, with the shapes that the model takes."""
        inputs = []
        for tensor in request.inputs:
            dims, shape = self.inputs.get(tensor.name, (None, ()))
            inputs.append(tensor if dims is None else reshaped(tensor, dims, shape))
        return request.with_inputs(tuple(inputs))

    def to_caller(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A model's outputs, with the shapes that callers see.

        Raises:
            HubError: MODEL_FAILED if an output does not have the shape that the config says.
        """
        return tuple([self._to_caller(tensor) for tensor in outputs])

    def _to_caller(self, tensor: Tensor) -> Tensor:
        if tensor.name not in self.outputs:
            return tensor
        dims, shape = self.outputs[tensor.name]
        fits = len(tensor.shape) == len(shape) and all(
            expected in (-1, size) for size, expected in zip(tensor.shape, shape, strict=True)
        )
        if not fits:
            raise HubError(
                Kind.MODEL_FAILED,
                f"model '{self.model}': output '{tensor.name}' has shape {list(tensor.shape)}, its config says "
                f"{list(shape)}",
            )
        return reshaped(tensor, shape, dims)


def shapes_of(entries: Iterable[Entry], batch: Shape) -> dict[str, tuple[Shape, Shape]]:
    """The caller's and the model's shape of each input or output that has a reshape, by name."""
    return {
        entry.name: ((*batch, *entry.dims), (*batch, *entry.reshape.shape))
        for entry in entries
        if entry.HasField("reshape")
    }


def seen(spec: TensorSpec, shapes: dict[str, tuple[Shape, Shape]]) -> TensorSpec:
    """A spec of the model as callers see it."""
    return replace(spec, shape=shapes[spec.name][0], any_shape=False) if spec.name in shapes else spec


def reshaped(tensor: Tensor, before: Shape, after: Shape) -> Tensor:
    """A tensor of shape `before` with shape `after`; each -1 of `after` gets the size of the same -1 of `before`."""
    sizes = iter([size for size, dim in zip(tensor.shape, before, strict=True) if dim == -1])
    shape = tuple([next(sizes) if dim == -1 else dim for dim in after])
    return Tensor(tensor.name, tensor.dtype, shape, tensor.data)


def check_reshapes(config: config_pb.ModelConfig) -> None:
    """Refuse a config with a reshape that does not hold the same elements as its dims.

    Raises:
        HubError: BAD_INPUT that names the input or output.
    """
    entries: list[tuple[str, Entry]] = [("input", entry) for entry in config.input]
    entries += [("output", entry) for entry in config.output]
    for kind, entry in entries:
        if not entry.HasField("reshape"):
            continue
        dims, shape = list(entry.dims), list(entry.reshape.shape)
        place = f"config.pbtxt: {kind} '{entry.name}' has dims {dims} and reshape {shape}"
        if any(dim < -1 or dim == 0 for dim in chain(dims, shape)):
            raise bad_input(f"{place}, expected only -1 or numbers above 0")
        if dims.count(-1) != shape.count(-1):
            raise bad_input(f"{place}, expected the same number of -1 in both")
        if counts(dims) != counts(shape):
            between = " before, between and after each -1" if -1 in dims else ""
            raise bad_input(f"{place}, expected the same number of elements{between}")


def counts(dims: list[int]) -> list[int]:
    """The numbers of elements before, between and after the dimensions of -1."""
    parts: list[list[int]] = [[]]
    for dim in dims:
        if dim == -1:
            parts.append([])
        else:
            parts[-1].append(dim)
    return [prod(part) for part in parts]
