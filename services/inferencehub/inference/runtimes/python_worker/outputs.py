"""What a Python model's `predict` returned, checked and converted to the declared outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from inferencehub.core.values.signature import TensorSpec, fits
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.support.arrays import from_array
from inferencehub.inference.runtimes.support.error_text import first_line

EXACT = 2**53  # from here on a float64 cannot hold every integer
PLAIN = frozenset({int, float, bool, str, bytes, type(None)})  # types without anything in them


class WrongOutputError(Exception):
    """The model's class or its output is wrong. The text completes a sentence that begins with the file or model."""


def checked(given: Any, specs: Iterable[TensorSpec], rows: int) -> list[Tensor]:
    """Convert what `predict` returned to the declared outputs.

    Args:
        given: the return value of `predict`.
        specs: the declared outputs.
        rows: the number of rows that each output must have; 0 if the model does not batch.

    Raises:
        WrongOutputError: if it does not fit; it names the output, what came and what was expected.
    """
    if not isinstance(given, Mapping):
        raise WrongOutputError(f"a {type(given).__name__}, expected a dict of outputs")
    tensors = []
    for spec in specs:
        if spec.name not in given:
            raise WrongOutputError(f"no output '{spec.name}', only {sorted(map(str, given))}")
        try:
            array = array_of(spec, given[spec.name])
            shape = (-1,) * array.ndim if spec.any_shape else spec.shape
            expected = (rows, *shape[1:]) if rows else shape
            tensors.append(from_array(spec.name, spec.dtype, in_shape(array, expected)))
        except ValueError as error:
            raise WrongOutputError(f"output '{spec.name}' {error}") from None
    return tensors


def array_of(spec: TensorSpec, value: Any) -> npt.NDArray[Any]:
    """An output as an array; text and bytes in a list stay objects, because numpy's own text types cut zeros off.

    Raises:
        ValueError: if it is no array, or has masked values. The text completes a sentence that begins with the output's
            name.
    """
    try:
        if hasattr(value, "__array__") and not isinstance(value, np.generic):
            value = np.asanyarray(value)  # of pandas or torch, too; what they give may be masked
        masked = has_masked(value)
    except (
        Exception
    ) as error:  # whatever a library's conversion raises: torch, for a tensor that needs a gradient
        raise ValueError(f"that cannot be read as an array: {first_line(error)}") from error
    if masked:
        raise ValueError("with masked values, expected all values")
    kind = object if spec.dtype == "BYTES" and not isinstance(value, np.ndarray) else None
    try:
        array = np.asarray(value, dtype=kind)
    except ValueError as error:
        raise ValueError("that is no array, such as rows of different lengths") from error
    if array.dtype.name == "bfloat16":  # of the package ml_dtypes, which JAX uses; FP32 holds all its values
        return array.astype("<f4")
    if array.dtype == np.float64 and not isinstance(value, np.ndarray) and np.any(np.abs(array) >= EXACT):
        return whole_numbers(value, array)
    return array


def has_masked(value: Any) -> bool:
    """Whether a value, or anything in a sequence, has masked elements.

    numpy would make NaN of a masked element in a list, and take what is below the mask of an array in a list.
    """
    if isinstance(value, np.generic | str | bytes):
        return False
    if hasattr(value, "__array__"):
        return bool(np.ma.is_masked(np.asanyarray(value)))
    try:
        len(value)
    except TypeError:  # for numpy, too, what has no length is no sequence
        return False
    return not PLAIN.issuperset(map(type, value)) and any(map(has_masked, value))


def whole_numbers(value: Any, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A list with large numbers, for which numpy has chosen floats: an array of integers if all of them are integers.

    Args:
        value: the list.
        array: what numpy made of it.

    Raises:
        ValueError: if an integer is rounded in `array`, and stands beside fractions or beyond 64 bits.
    """
    numbers = np.asarray(value, dtype=object).ravel().tolist()
    integers = [int(number) for number in numbers if isinstance(number, int | np.integer)]
    if len(integers) == len(numbers):
        with suppress(OverflowError):
            target = np.int64 if min(integers) < 0 else np.uint64
            return np.array(integers, dtype=target).reshape(array.shape)
    rounded = next((number for number in integers if int(float(number)) != number), None)
    if rounded is not None:
        raise ValueError(f"with {rounded} beside other numbers, expected an array of integers")
    return array


def in_shape(array: npt.NDArray[Any], expected: tuple[int, ...]) -> npt.NDArray[Any]:
    """The array in the expected shape, in which -1 is any size.

    A first or last dimension of size 1 may be missing: [n] is taken for [n, 1], and [k] for the row [1, k]. A single
    element is taken where all dimensions are declared as 1.

    Raises:
        ValueError: if it has another shape. The text completes a sentence that begins with the output's name.
    """
    shape = array.shape
    if fits(shape, expected):
        return array
    if array.size == 1 and all(dim == 1 for dim in expected):
        return array.reshape((1,) * len(expected))
    if not expected:
        raise ValueError(f"of shape {list(shape)}, expected a single number")
    if expected[-1] == 1 and fits((*shape, 1), expected):
        return array.reshape((*shape, 1))
    if expected[0] == 1 and fits((1, *shape), expected):
        return array.reshape((1, *shape))
    raise ValueError(f"of shape {list(shape)}, expected {list(expected)}")
