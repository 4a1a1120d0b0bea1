"""BYTES tensors for onnxruntime, whose strings are text.

onnxruntime reads a numpy array of `str`. It does not refuse `bytes`: it takes what `str` makes of them, "b'...'".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inferencehub.core.values.errors import bad_input, shown
from inferencehub.core.values.tensors import Tensor, unpack_bytes


def text_array(model: str, tensor: Tensor) -> npt.NDArray[Any]:
    """A BYTES tensor as an array of objects of type str, with the tensor's shape.

    Raises:
        HubError: BAD_INPUT that names the first element that is not UTF-8.
    """
    elements = unpack_bytes(tensor.data)
    texts = []
    for index, element in enumerate(elements):
        try:
            texts.append(element.decode())
        except UnicodeDecodeError:
            place = [int(number) for number in np.unravel_index(index, tensor.shape)]
            raise bad_input(
                f"model '{model}': element {place} of input '{tensor.name[:80]}' is {shown(element)}, expected text in UTF-8"
            ) from None
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array.reshape(tensor.shape)
