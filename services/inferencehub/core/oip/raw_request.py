"""The raw binary request: a body that is nothing but the elements of a model's only input.

Source: Open Inference Protocol, "binary tensor data extension", "Raw Binary Request". The shape comes from the model's
signature; a body of BYTES is one element, without its length.
"""

from __future__ import annotations

from math import prod

from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import ModelInfo
from inferencehub.core.values.tensors import DTYPES, Buffer, Tensor, pack_bytes


def raw_request(info: ModelInfo, version: str, data: Buffer) -> InferRequest:
    """A request with one row.

    Args:
        info: the model.
        version: the version to call; "" for the default version.
        data: the body.

    Raises:
        HubError: BAD_INPUT if the model has several inputs, or if the body does not fit its input.
    """
    signature = info.signature
    if not signature.inputs or not signature.first_is_all:
        raise bad_input(
            f"model '{info.name}' has {len(signature.inputs)} inputs, expected one for a body of raw elements "
            "(Inference-Header-Content-Length 0)"
        )
    spec = signature.inputs[0]
    if spec.any_shape:
        raise bad_input(
            f"model '{info.name}': input '{spec.name}' has no shape, expected one for a body of raw elements"
        )
    batches = bool(signature.max_batch_size)
    row = spec.shape[1:] if batches else spec.shape
    size = DTYPES[spec.dtype]
    if size:
        known, free, bytes_count = prod([dim for dim in row if dim != -1]), row.count(-1), len(data)
        if free > 1:
            raise bad_input(
                f"model '{info.name}': input '{spec.name}' has shape {list(spec.shape)}, expected at most one variable "
                "dimension for a body of raw elements"
            )
        part = known * size
        if bytes_count % part if free and part else bytes_count != part:
            what = "a multiple of " if free else ""
            raise bad_input(
                f"model '{info.name}': input '{spec.name}' takes {what}{part} bytes, got {bytes_count}"
            )
        length = bytes_count // part if part else 0
        shape = tuple([length if dim == -1 else dim for dim in row])
    else:
        if any(dim not in (-1, 1) for dim in row):
            raise bad_input(
                f"model '{info.name}': input '{spec.name}' has shape {list(spec.shape)}, expected one element for a "
                "body of raw BYTES"
            )
        shape, data = (1,) * len(row), pack_bytes([bytes(data)])
    tensor = Tensor(spec.name, spec.dtype, (1, *shape) if batches else shape, data)
    return InferRequest(info.name, version, (tensor,))
