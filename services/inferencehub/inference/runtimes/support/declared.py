"""The signature that config.pbtxt declares, for runtimes whose model file does not contain it."""

from __future__ import annotations

from collections.abc import Iterable

from inferencehub.core.oip.model_info import TYPE_NAMES
from inferencehub.core.values.errors import bad_input
from inferencehub.core.values.signature import Signature, TensorSpec
from inferencehub.core.values.tensors import DTYPES
from inferencehub.pb import model_config_pb2 as config_pb


def declared(config: config_pb.ModelConfig) -> Signature:
    """The signature in the config; the batch dimension is added in front if the model batches.

    Raises:
        HubError: BAD_INPUT if an input or output has no name, or no valid type or dims.
    """
    inputs = [tensor_spec(config, t.name, t.data_type, t.dims, "input", t.optional) for t in config.input]
    outputs = [tensor_spec(config, t.name, t.data_type, t.dims, "output") for t in config.output]
    return Signature(tuple(inputs), tuple(outputs), config.max_batch_size)


def tensor_spec(
    config: config_pb.ModelConfig,
    name: str,
    data_type: int,
    dims: Iterable[int],
    kind: str,
    optional: bool = False,
) -> TensorSpec:
    """The spec of one input or output of a config.

    Raises:
        HubError: BAD_INPUT if the name, type or dims are invalid.
    """
    dtype = TYPE_NAMES.get(data_type, "")
    sizes = tuple(dims)
    if not name or dtype not in DTYPES:
        raise bad_input(
            f"config.pbtxt: {kind} '{name}' needs a name and a data_type, got type {dtype or data_type}"
        )
    if not sizes or any(dim < -1 or dim == 0 for dim in sizes):
        raise bad_input(
            f"config.pbtxt: {kind} '{name}' has dims {list(sizes)}, expected one or more of -1 or above 0"
        )
    return TensorSpec(name, dtype, (-1, *sizes) if config.max_batch_size else sizes, optional)


def needs_declaration(config: config_pb.ModelConfig) -> Signature:
    """Same as `declared`, but the config must declare at least one input and one output.

    Raises:
        HubError: BAD_INPUT if it does not, or as in `declared`.
    """
    signature = declared(config)
    if not signature.inputs or not signature.outputs:
        raise bad_input(f"config.pbtxt: backend '{config.backend}' needs at least one input and one output")
    return signature
