"""The inputs and outputs of a PyTorch model: what its file tells, what its config says, and which name means which tensor.

Source of the names: "Special Conventions for PyTorch Backend" in Triton's documentation of the model configuration. Names
are those of the arguments of `forward`, or end with `__` and a number, such as `INPUT__0`, or else the order counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from inferencehub.core.values.errors import HubError, bad_input
from inferencehub.core.values.signature import TensorSpec
from inferencehub.inference.runtimes.support.agreement import declared_spec, must_agree
from inferencehub.inference.runtimes.support.declared import Entry, tensor_spec
from inferencehub.pb import model_config_pb2 as config_pb

NUMBERED = re.compile(r".*__(\d+)")


class Place(NamedTuple):
    """An input or output as callers see it, and the place that it has among the model's own."""

    spec: TensorSpec
    place: int


def places(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """The place of each name of a config among the model's own names, by the three conventions above."""
    if all(name in known for name in names):
        return [known.index(name) for name in names]
    numbers = [NUMBERED.fullmatch(name) for name in names]
    if all(numbers):
        return [int(number[1]) for number in numbers if number]
    return list(range(len(names)))


def inputs_of(config: config_pb.ModelConfig, file: Sequence[TensorSpec]) -> list[Place]:
    """The inputs, checked: those of the config, or else those of the file.

    Args:
        config: the model's config.
        file: the inputs in the order of `forward`; one of no dtype is known by its name alone.

    Raises:
        HubError: BAD_INPUT if file and config do not agree.
    """
    if not config.input and any(not spec.dtype for spec in file):
        raise undeclared()
    found = sided(config, config.input, "input", file)
    listed = {place for _, place in found}
    missing = [spec.name for at, spec in enumerate(file) if at not in listed and not spec.optional]
    if missing:
        raise bad_input(f"config.pbtxt: the model's input '{missing[0]}' is not listed")
    return found


def outputs_of(config: config_pb.ModelConfig, file: Sequence[TensorSpec] | None) -> list[Place]:
    """The outputs, checked: those of the config, or else those of the file, which is None where it tells none.

    Raises:
        HubError: BAD_INPUT if file and config do not agree.
    """
    if file is not None:
        return sided(config, config.output, "output", file)
    if not config.output:
        raise undeclared()
    specs = [numeric(tensor_spec(config, entry, "output"), "output") for entry in config.output]
    return list(map(Place, specs, places([spec.name for spec in specs], ())))


def sided(
    config: config_pb.ModelConfig, entries: Sequence[Entry], kind: str, file: Sequence[TensorSpec]
) -> list[Place]:
    """The inputs or the outputs of a model whose file tells at least their names."""
    if not entries:
        for spec in file:
            check_batch(config, spec)
        return [Place(spec, at) for at, spec in enumerate(file)]
    names = [spec.name for spec in file]
    found = []
    for entry, place in zip(entries, places([entry.name for entry in entries], names), strict=True):
        if place >= len(file):
            raise bad_input(f"config.pbtxt: {kind} '{entry.name}' is not in the model, which has {names}")
        # The order would give it the value of another one.
        if entry.name in names and entry.name != names[place]:
            raise bad_input(
                f"config.pbtxt: {kind} '{entry.name}' stands in the place of the model's '{names[place]}', because others have "
                f"names that it does not know, expected names among {names} for all"
            )
        found.append(Place(of_both(config, entry, kind, file[place]), place))
    if len({place for _, place in found}) < len(found):
        listed = [entry.name for entry in entries]
        raise bad_input(f"config.pbtxt: {kind}s {listed} name one of the model's twice, which has {names}")
    return found


def of_both(config: config_pb.ModelConfig, entry: Entry, kind: str, file: TensorSpec) -> TensorSpec:
    """The spec of a config's entry; a dimension that the file has as -1 may be fixed there."""
    if not file.dtype:
        spec = numeric(tensor_spec(config, entry, kind), kind)
        if spec.optional and not file.optional:
            raise bad_input(
                f"config.pbtxt: input '{entry.name}' is optional, and the model's '{file.name}' is not"
            )
        return spec
    spec = declared_spec(config, entry, kind, file)
    check_batch(config, file)
    must_agree(kind, spec, file)
    return spec


def check_batch(config: config_pb.ModelConfig, file: TensorSpec) -> None:
    """Refuse an input or output without a variable first dimension if the model batches.

    Raises:
        HubError: BAD_INPUT.
    """
    if config.max_batch_size and file.shape[:1] != (-1,):
        raise bad_input(
            f"config.pbtxt: max_batch_size {config.max_batch_size}, but '{file.name}' has shape {list(file.shape)} in the "
            "model, whose first dimension is not variable: export it with dynamic_shapes"
        )


def numeric(spec: TensorSpec, kind: str) -> TensorSpec:
    """The spec, which must not be text.

    Raises:
        HubError: BAD_INPUT.
    """
    if spec.dtype == "BYTES":
        raise bad_input(
            f"config.pbtxt: {kind} '{spec.name}' is TYPE_STRING, and tensors of PyTorch hold numbers"
        )
    return spec


def undeclared() -> HubError:
    """The error for TorchScript whose config lists no inputs or outputs."""
    return bad_input(
        "TorchScript tells neither types nor shapes: config.pbtxt needs at least one input and one output"
    )
