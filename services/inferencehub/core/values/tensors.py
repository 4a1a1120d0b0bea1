"""Tensors of the Open Inference Protocol (OIP): a dtype, a shape, and raw little-endian row-major bytes.

`checked_tensor` checks the byte count of a tensor that comes from a caller or a model; no other code checks it again.
The data is an object with the buffer protocol (bytes or a memoryview), never a list, so the tiers pass it on without
reading its elements.

BYTES elements have variable sizes: each is a uint32 length and that many bytes (OIP, "binary tensor data extension").
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from struct import unpack_from

from inferencehub.core.values.errors import bad_input, shown
from inferencehub.core.values.structs.struct import Struct

Buffer = bytes | bytearray | memoryview

# Bytes per element; 0 means that each element carries its own length.
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
MAX_ELEMENTS = 2**40  # far more than any request has, and small enough to multiply quickly


class Tensor(Struct, frozen=True):
    """A named tensor, which is not checked: use this for bytes that are known to fit, such as parts of a checked tensor.

    Args:
        name: the input's or output's name.
        dtype: a key of `DTYPES`.
        shape: the dimensions; the batch dimension comes first if the model batches.
        data: raw little-endian elements, row-major.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Buffer


def checked_tensor(name: str, dtype: str, shape: tuple[int, ...], data: Buffer) -> Tensor:
    """A tensor from outside, whose bytes fit its dtype and its shape.

    Raises:
        HubError: BAD_INPUT if the dtype is unknown, a dimension is negative, or the byte count is wrong.
    """
    size = DTYPES.get(dtype)
    if size is None:
        expected = ", ".join(DTYPES)
        raise bad_input(f"tensor '{name[:80]}': unknown datatype '{dtype[:80]}', expected one of {expected}")
    count = element_count(name, shape)
    if not size:
        check_bytes_elements(name, data, count)
    elif len(data) != count * size:
        raise bad_input(
            f"tensor '{name[:80]}': shape {list(shape)} of {dtype} needs {count * size} bytes, got {len(data)}"
        )
    return Tensor(name, dtype, shape, data)


def element_count(name: str, shape: Sequence[int]) -> int:
    """The number of elements of a tensor of this shape.

    Raises:
        HubError: BAD_INPUT if a dimension is negative, or if there are too many dimensions or elements.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise bad_input(f"tensor '{name[:80]}': {len(shape)} dimensions, expected at most {MAX_DIMENSIONS}")
    for dim in shape:
        if dim < 0 or dim > MAX_ELEMENTS:
            raise bad_input(
                f"tensor '{name[:80]}': dimension {shown(dim)} in shape, expected 0 to {MAX_ELEMENTS}"
            )
    count = prod(shape)
    # numpy has no such array, though it would be empty.
    if not count and prod(filter(None, shape)) > MAX_ELEMENTS:
        raise bad_input(
            f"tensor '{name[:80]}': shape {shown(list(shape))} is too large, expected at most {MAX_ELEMENTS} elements in "
            "its dimensions that are not 0"
        )
    if count > MAX_ELEMENTS:
        raise bad_input(
            f"tensor '{name[:80]}': shape {shown(list(shape))} has {shown(count)} elements, expected at most {MAX_ELEMENTS}"
        )
    return count


def check_bytes_elements(name: str, data: Buffer, count: int) -> None:
    """Refuse BYTES data that does not hold exactly `count` length-prefixed elements.

    Raises:
        HubError: BAD_INPUT.
    """
    if bytes_elements_end(data, count) != len(data):
        raise bad_input(
            f"tensor '{name[:80]}': {len(data)} bytes are not exactly {count} BYTES elements, each a uint32 length and "
            "that many bytes"
        )


def bytes_elements_end(data: Buffer, count: int, start: int = 0) -> int:
    """The offset after `count` BYTES elements that begin at offset `start`; -1 if the data ends too early."""
    total = len(data)
    # An element takes at least 4 bytes. So a huge count with few bytes is refused without a loop.
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
    """The BYTES elements of a buffer that `checked_tensor` has checked."""
    view, offset, elements = memoryview(data), 0, []
    while offset < len(view):
        end = offset + 4 + int(unpack_from("<I", view, offset)[0])
        elements.append(bytes(view[offset + 4 : end]))
        offset = end
    return elements


def merge_rows(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors along their first dimension. They must have the same name, dtype and other dimensions."""
    first = tensors[0]
    if len(tensors) == 1:
        return first
    shape = (sum([tensor.shape[0] for tensor in tensors]), *first.shape[1:])
    return Tensor(first.name, first.dtype, shape, b"".join([tensor.data for tensor in tensors]))


def split_rows(tensor: Tensor, rows: Sequence[int]) -> list[Tensor]:
    """Cut a tensor along its first dimension, without copying its bytes.

    Args:
        tensor: the tensor to cut.
        rows: the number of rows of each part.

    Raises:
        ValueError: if `rows` does not add up to the tensor's number of rows.
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
        parts.append(Tensor(name, dtype, (count, *rest), view[offset:end]))
        offset = end
    return parts
