"""TorchScript, as `torch.jit.save` writes it: the file tells the arguments of `forward`, and neither types nor shapes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.signature import TensorSpec
from inferencehub.inference.runtimes.torch.archive import check_script

TENSORS = ("Tensor", "Optional[Tensor]")


class Script:
    """See `Program`.

    Args:
        file: the model file.
        device: where it runs, whatever device it was saved on.

    Raises:
        HubError: MODEL_FAILED if the file cannot be served, UNSUPPORTED if `forward` needs what is no tensor.
        Exception: whatever PyTorch raises for a file that it cannot read.
    """

    def __init__(self, file: Path, device: torch.device) -> None:
        check_script(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of PyTorch say that TorchScript is deprecated
            self.module = torch.jit.load(file, map_location=device).eval()
        self.inputs: Sequence[TensorSpec] = [
            TensorSpec(argument.name, "", (), optional=argument.has_default_value())
            for argument in self.module.forward.schema.arguments[1:]
            if is_tensor(argument)
        ]
        self.outputs: Sequence[TensorSpec] | None = None
        self.rows = 0

    def run(self, tensors: Mapping[int, torch.Tensor]) -> Any:
        return self.module(**{self.inputs[place].name: tensor for place, tensor in tensors.items()})


def is_tensor(argument: Any) -> bool:
    """Whether an argument of `forward` is a tensor; False for another one, whose default value is used.

    Raises:
        HubError: UNSUPPORTED if it is none, and has no default value.
    """
    if str(argument.type) in TENSORS:
        return True
    if argument.has_default_value():
        return False
    raise HubError(
        Kind.UNSUPPORTED,
        f"argument '{argument.name}' of the model is a {argument.type}, which is not supported: expected tensors",
    )
