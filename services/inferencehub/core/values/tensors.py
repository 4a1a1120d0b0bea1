"""Tensors as the Open Inference Protocol means them: a dtype, a shape, and raw little-endian row-major bytes.

A `Tensor` checks its byte count once, when it is made; nobody checks again. Its data is anything with the buffer
protocol (bytes or a memoryview), never a list, so that it crosses the tiers without being looked at.

BYTES elements are variable: each is a uint32 length and that many bytes (OIP, "binary tensor data extension").
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from struct import unpack_from
from typing import Any

from inferencehub.core.values.errors import bad_input, shown
from inferencehub.core.values.value_class import value_class

Buffer = bytes | bytearray | memoryview

# Bytes per element; 0 says that the elements carry their own length.
DTYPES: dict[str, int] = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
    "BYTES": 0,
}
MAX_DIMENSIONS = 32
MAX_ELEMENTS = 2**40  # far beyond any request, and small enough that products stay cheap


@value_class(frozen=True, slots=True)
class Tensor:
    """A named tensor.

    Args:
        name: the input's or output's name.
        dtype: a key of `DTYPES`.
        shape: the dimensions, batch first where the model batches.
        data: raw little-endian elements, row-major.

    Raises:
        HubError: BAD_INPUT where the dtype is unknown, a dimension negative, or the byte count wrong.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Buffer

    def __post_init__(self) -> None:
        size = DTYPES.get(self.dtype)
        if size is None:
            raise bad_input(
                f"tensor '{self.name[:80]}': unknown datatype '{self.dtype[:80]}', expected one of {', '.join(DTYPES)}"
            )
        count = element_count(self.name, self.shape)
        if size:
            if len(self.data) != count * size:
                raise bad_input(
                    f"tensor '{self.name[:80]}': shape {list(self.shape)} of {self.dtype} needs {count * size} bytes, "
                    f"got {len(self.data)}"
                )
        else:
            check_bytes_elements(self.name, self.data, count)


def element_count(name: str, shape: Sequence[int]) -> int:
    """The number of elements of `shape`; refuses negative, absurdly many or absurdly large dimensions."""
    if len(shape) > MAX_DIMENSIONS:
        raise bad_input(f"tensor '{name[:80]}': {len(shape)} dimensions, expected at most {MAX_DIMENSIONS}")
    for dim in shape:
        if dim < 0 or dim > MAX_ELEMENTS:
            raise bad_input(
                f"tensor '{name[:80]}': dimension {shown(dim)} in shape, expected 0 to {MAX_ELEMENTS}"
            )
    count = prod(shape)
    if count > MAX_ELEMENTS:
        raise bad_input(
            f"tensor '{name[:80]}': shape {shown(list(shape))} has {shown(count)} elements, expected at most {MAX_ELEMENTS}"
        )
    return count


def check_bytes_elements(name: str, data: Buffer, count: int) -> None:
    """Refuse BYTES data that does not hold exactly `count` length-prefixed elements."""
    if bytes_elements_end(data, count) != len(data):
        raise bad_input(
            f"tensor '{name[:80]}': {len(data)} bytes are not exactly {count} BYTES elements, each a uint32 length and "
            "that many bytes"
        )


def bytes_elements_end(data: Buffer, count: int, start: int = 0) -> int:
    """The offset behind `count` BYTES elements from `start`, or -1 where the data ends before."""
    total = len(data)
    # An element takes at least 4 bytes: a huge count over few bytes is refused without a loop.
    if count * 4 > total - start:
        return -1
    offset = start
    for _ in range(count):
        if offset + 4 > total:
            return -1
        offset += 4 + int(unpack_from("<I", data, offset)[0])
    return offset if offset <= total else -1


def pack_bytes(elements: Sequence[bytes]) -> bytes:
    """BYTES elements as one raw buffer."""
    return b"".join([part for element in elements for part in (len(element).to_bytes(4, "little"), element)])


def unpack_bytes(data: Buffer) -> list[bytes]:
    """The BYTES elements of a buffer that `Tensor` has checked."""
    view, offset, elements = memoryview(data), 0, []
    while offset < len(view):
        end = offset + 4 + int(unpack_from("<I", view, offset)[0])
        elements.append(bytes(view[offset + 4 : end]))
        offset = end
    return elements


def merge_rows(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of equal name, dtype and non-batch shape, joined along their first dimension."""
    first = tensors[0]
    if len(tensors) == 1:
        return first
    shape = (sum([tensor.shape[0] for tensor in tensors]), *first.shape[1:])
    return trusted(first.name, first.dtype, shape, b"".join([tensor.data for tensor in tensors]))


def split_rows(tensor: Tensor, rows: Sequence[int]) -> list[Tensor]:
    """`tensor` cut along its first dimension into parts of `rows` rows each; no byte is copied.

    Raises:
        ValueError: where the parts do not add up to the tensor's rows.
    """
    if not tensor.shape or sum(rows) != tensor.shape[0]:
        raise ValueError(f"output '{tensor.name}' of shape {list(tensor.shape)} for {sum(rows)} rows")
    if len(rows) == 1:
        return [tensor]
    rest = tensor.shape[1:]
    per_row = prod(rest)
    size = DTYPES[tensor.dtype] * per_row
    name, dtype, of_any_size = tensor.name, tensor.dtype, not size and per_row
    view, offset, parts = memoryview(tensor.data), 0, []
    for count in rows:
        end = bytes_elements_end(view, count * per_row, offset) if of_any_size else offset + count * size
        parts.append(trusted(name, dtype, (count, *rest), view[offset:end]))
        offset = end
    return parts


def trusted(name: str, dtype: str, shape: tuple[int, ...], data: Buffer) -> Tensor:
    """A `Tensor` whose bytes are known to fit, made of tensors that were checked: skips the second check."""
    tensor: Any = object.__new__(Tensor)  # not yet a value
    tensor.name = name
    tensor.dtype = dtype
    tensor.shape = shape
    tensor.data = data
    made: Tensor = tensor
    return made
