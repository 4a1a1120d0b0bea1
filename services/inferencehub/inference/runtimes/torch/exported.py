"""An ExportedProgram, as `torch.export.save` writes it: the file tells types, shapes and dimensions of any size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.export.passes import move_to_device_pass
from torch.utils._pytree import tree_unflatten

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.signature import TensorSpec
from inferencehub.inference.runtimes.support.error_text import IN_LOG, failed
from inferencehub.inference.runtimes.torch.archive import check_exported, pickled
from inferencehub.inference.runtimes.torch.program import DTYPES, names_of


class Exported:
    """See `Program`.

    Args:
        file: the model file.
        device: where it runs, whatever device it was exported on.
        allow_pickle: whether the file may hold pickled objects beside its tensors.

    Raises:
        HubError: MODEL_FAILED if the file cannot be served, UNSUPPORTED if an input or output is no tensor of the protocol.
        Exception: whatever PyTorch raises for a file that it cannot read.
    """

    def __init__(self, file: Path, device: torch.device, allow_pickle: bool) -> None:
        program = move_to_device_pass(read(file, allow_pickle), device)
        self.module = program.module()
        self.tree = program.call_spec.in_spec
        given = [
            spec.arg for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT
        ]
        # What `forward` gets, in order: a constant as it is, None where a tensor goes.
        self.constants = [arg.value if isinstance(arg, ConstantArgument) else None for arg in given]
        tensors = [at for at, arg in enumerate(given) if not isinstance(arg, ConstantArgument)]
        self.at = tensors
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        self.inputs: Sequence[TensorSpec] = [
            spec_of("input", given[at].name, values, given[at]) for at in tensors
        ]
        self.outputs: Sequence[TensorSpec] | None = list(outputs_of(program, values))
        self.rows = most_rows(program, [values[given[at].name] for at in tensors])

    def run(self, tensors: Mapping[int, torch.Tensor]) -> Any:
        given: list[Any] = list(self.constants)
        for place, tensor in tensors.items():
            given[self.at[place]] = tensor
        arguments, named = tree_unflatten(given, self.tree)
        return self.module(*arguments, **named)


def read(file: Path, allow_pickle: bool) -> ExportedProgram:
    """The program in a file.

    PyTorch unpickles what is no plain tensor, such as the sample inputs of the export, with a reader that builds tensors
    alone, and with Python's own where that one gives up. The process's environment forbids the second (`runtime.py`).

    Raises:
        HubError: MODEL_FAILED if it is another file, or holds pickled objects that are not allowed.
        Exception: whatever PyTorch raises for a file that it cannot read.
    """
    check_exported(file, allow_pickle)
    try:
        return torch.export.load(file)
    except UnpicklingError:
        raise pickled(file.name) from None
    except RuntimeError as error:
        if "check the warnings above" in str(error):
            raise failed(f"{file.name} cannot be loaded; {IN_LOG}") from None
        raise


def outputs_of(program: ExportedProgram, values: Mapping[str, Any]) -> Iterator[TensorSpec]:
    """The outputs; a dict of tensors has names of its own."""
    given = [spec.arg for spec in program.graph_signature.output_specs if spec.kind is OutputKind.USER_OUTPUT]
    names = names_of(tree_unflatten(given, program.call_spec.out_spec))
    for name, arg in zip(names, given, strict=True):
        yield spec_of("output", name, values, arg)


def spec_of(kind: str, name: str, values: Mapping[str, Any], arg: Any) -> TensorSpec:
    """The spec of an input or output.

    Args:
        kind: "input" or "output".
        name: its name for callers.
        values: what the graph says of its nodes.
        arg: what the program's signature says of it.

    Raises:
        HubError: UNSUPPORTED if it is no tensor, or none of the protocol's types.
    """
    value: Any = values.get(getattr(arg, "name", ""))
    if not isinstance(arg, TensorArgument) or value.dtype not in DTYPES:
        what = f"a tensor of {value.dtype}" if isinstance(value, torch.Tensor) else "no tensor"
        raise HubError(Kind.UNSUPPORTED, f"{kind} '{name}' of the model is {what}, which is not supported")
    return TensorSpec(
        name, DTYPES[value.dtype], tuple(size if isinstance(size, int) else -1 for size in value.shape)
    )


def most_rows(program: ExportedProgram, values: list[torch.Tensor]) -> int:
    """The most rows that the first dimension of every input may have; 0 if none of them says a number."""
    limits = []
    for value in values:
        if value.shape and isinstance(value.shape[0], torch.SymInt):
            limit = program.range_constraints.get(value.shape[0].node.expr)
            if limit is not None and limit.upper.is_Integer:  # it may be infinite
                limits.append(int(limit.upper))
    return min(limits, default=0)
