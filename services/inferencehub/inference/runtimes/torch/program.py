"""What both kinds of file have in common: the types of tensors, and the outputs of a model in one list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from inferencehub.core.values.signature import TensorSpec
from inferencehub.inference.runtimes.support.arrays import NUMPY

DTYPES = {getattr(torch, np.dtype(code).name): dtype for dtype, code in NUMPY.items()} | {
    torch.bfloat16: "BF16"
}


class Program(Protocol):
    """A model out of a file.

    `inputs` are those of its `forward`, in order; one of no dtype is known by its name alone. `outputs` are None where
    the file does not tell them. `rows` is how many rows it takes at most, 0 for any number.
    """

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec] | None
    rows: int

    def run(self, tensors: Mapping[int, torch.Tensor]) -> Any:
        """What `forward` gives for tensors by their place in `inputs`."""


def leaves(given: Any) -> Iterator[Any]:
    """What a model gave, without the tuples, lists and dicts around it, in order."""
    if isinstance(given, Mapping):
        given = given.values()
    elif not isinstance(given, tuple | list):
        yield given
        return
    for each in given:
        yield from leaves(each)


def names_of(given: Any) -> list[str]:
    """The names of the leaves: the keys of a dict of tensors, or else Triton's, by their numbers."""
    if isinstance(given, Mapping) and not any(
        isinstance(each, Mapping | tuple | list) for each in given.values()
    ):
        return [str(key) for key in given]
    return [f"OUTPUT__{number}" for number, _ in enumerate(leaves(given))]


def tensor_of(array: npt.NDArray[Any], dtype: str, device: torch.device) -> torch.Tensor:
    """A tensor over an array's memory, on the device; BF16, which numpy does not have, comes as FP32."""
    tensor = torch.from_numpy(array).to(device)
    return tensor.to(torch.bfloat16) if dtype == "BF16" else tensor


def array_of(given: Any) -> Any:
    """A tensor as an array, BF16 as FP32; anything else as it is."""
    if not isinstance(given, torch.Tensor):
        return given
    tensor = given.detach().cpu()
    tensor = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
    return np.asarray(tensor.resolve_conj().resolve_neg())
