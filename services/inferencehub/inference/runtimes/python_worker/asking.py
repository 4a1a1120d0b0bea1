"""Calls of other models, as frames: what a model gives becomes tensors, what comes back becomes arrays."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from typing import Any

import numpy as np

from inferencehub.core.values.requests import size_of
from inferencehub.core.values.tensors import Buffer, Tensor
from inferencehub.inference.runtimes.python.channel import HEADERS, Asked, Given, NotGiven, frame, parts_of
from inferencehub.inference.runtimes.python_worker.outputs import has_masked
from inferencehub.inference.runtimes.support.arrays import NUMPY, from_array, to_array
from inferencehub.inference.runtimes.support.error_text import first_line
from inferencehub.model.calls import CallError, ModelCall

DTYPES = {np.dtype(code): dtype for dtype, code in NUMPY.items()}
TEXTS = "OSUT"  # numpy's kinds of arrays that may hold text or bytes
BLOCKS = "context.call_sync would block the event loop, expected: await context.call(...)"
Reply = tuple[Given | NotGiven, memoryview]  # with the bytes behind it
LEFT = "nobody waits for the answer any more"


def asked_frame(call: ModelCall, number: int, most_bytes: int) -> list[Buffer]:
    """The frame of a call.

    Args:
        call: what the model wants.
        number: the number that its answer will have.
        most_bytes: bytes of its inputs, at most.

    Raises:
        CallError: if it is too large.
        TypeError: if an input is no array of a type that models have.
    """
    tensors = [tensor_of(name, value) for name, value in call.inputs.items()]
    size = size_of(tuple(tensors))
    if size > most_bytes:
        raise CallError(
            call.model, "too_large", f"its inputs have {size} bytes, expected at most {most_bytes}"
        )
    asked = Asked(
        parts_of(tensors), False, number, call.model, call.version, call.outputs, dict(call.parameters)
    )
    buffers = frame(asked, tensors)
    if (size := sum(map(len, buffers))) > most_bytes + HEADERS:
        expected = f"expected at most {most_bytes + HEADERS}"
        raise CallError(call.model, "too_large", f"it has {size} bytes with names and parameters, {expected}")
    return buffers


def tensor_of(name: str, value: Any) -> Tensor:
    """An input of a call, in the type that it has.

    Raises:
        TypeError: if models have no such type.
    """
    try:
        if has_masked(value):
            raise ValueError("with masked values, expected all values")
        array = np.asanyarray(value)  # of pandas or torch, too
        if array.dtype.kind in TEXTS:  # numpy's own text types cut zeros off
            array = array if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)
            return from_array(name, "BYTES", array)
        dtype = DTYPES.get(array.dtype.newbyteorder("="))
        if dtype is None:
            raise ValueError(f"of type {array.dtype}, expected one of {', '.join([*NUMPY, 'BYTES'])}")
        return from_array(name, dtype, array)
    except Exception as error:  # whatever a library's conversion raises; a ValueError of a model is a refusal
        raise TypeError(f"input '{name}' of the call is an array {first_line(error)}") from error


def outputs_of(model: str, message: Given | NotGiven, body: memoryview) -> dict[str, Any]:
    """An array for each output by name.

    Raises:
        CallError: if the call has failed.
    """
    if isinstance(message, NotGiven):
        raise CallError(model, message.kind, message.detail)
    return {tensor.name: to_array(tensor) for tensor in message.over(body)}


def refuse_on(loop: AbstractEventLoop | None) -> None:
    """Refuse to block the event loop of this thread.

    Args:
        loop: the one that must go on; None for any.

    Raises:
        RuntimeError: if it runs in this thread.
    """
    try:
        here = get_running_loop()
    except RuntimeError:
        return
    if loop in (None, here):
        raise RuntimeError(BLOCKS)
