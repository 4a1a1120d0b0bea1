"""The signature that config.pbtxt declares, for runtimes whose model file does not contain it."""

from __future__ import annotations

from inferencehub.core.oip.model_info import TYPE_NAMES
from inferencehub.core.values.errors import HubError, bad_input
from inferencehub.core.values.signature import Signature, TensorSpec
from inferencehub.core.values.tensors import DTYPES
from inferencehub.pb import model_config_pb2 as config_pb

Entry = config_pb.ModelInput | config_pb.ModelOutput


def declared(config: config_pb.ModelConfig) -> Signature:
    """The signature in the config as the model has it: with the shapes of `reshape` where there is one.

    The batch dimension is added in front if the model batches.

    Raises:
        HubError: BAD_INPUT if an input or output has no name, or no valid type or dims.
    """
    inputs = [tensor_spec(config, entry, "input") for entry in config.input]
    outputs = [tensor_spec(config, entry, "output") for entry in config.output]
    return Signature(tuple(inputs), tuple(outputs), config.max_batch_size)


def tensor_spec(config: config_pb.ModelConfig, entry: Entry, kind: str) -> TensorSpec:
    """The spec of one input or output of a config, as the model has it.

    Raises:
        HubError: BAD_INPUT if the name, type or dims are invalid.
    """
    dtype = TYPE_NAMES.get(entry.data_type, "")
    if not entry.name or dtype not in DTYPES:
        raise bad_input(
            f"config.pbtxt: {kind} '{entry.name}' needs a name and a data_type, got type {dtype or entry.data_type}"
        )
    if not entry.dims and not entry.HasField("reshape"):
        raise wrong_dims(entry, kind)
    optional = isinstance(entry, config_pb.ModelInput) and entry.optional
    return TensorSpec(entry.name, dtype, model_shape(config, entry, kind), optional)


def model_shape(config: config_pb.ModelConfig, entry: Entry, kind: str) -> tuple[int, ...]:
    """The shape that an input or output has in the model: `reshape` if there is one, else `dims`; the batch in front.

    Raises:
        HubError: BAD_INPUT if a dimension is neither -1 nor above 0.
    """
    sizes = tuple(entry.reshape.shape if entry.HasField("reshape") else entry.dims)
    if any(dim < -1 or dim == 0 for dim in sizes):
        raise wrong_dims(entry, kind)
    return (-1, *sizes) if config.max_batch_size else sizes


def wrong_dims(entry: Entry, kind: str) -> HubError:
    """The error for an input or output whose dims are missing or out of range."""
    return bad_input(
        f"config.pbtxt: {kind} '{entry.name}' has dims {list(entry.dims)}, expected one or more of -1 or above 0"
    )


def needs_declaration(config: config_pb.ModelConfig) -> Signature:
    """Same as `declared`, but the config must declare at least one input and one output.

    Raises:
        HubError: BAD_INPUT if it does not, or as in `declared`.
    """
    signature = declared(config)
    if not signature.inputs or not signature.outputs:
        raise bad_input(f"config.pbtxt: backend '{config.backend}' needs at least one input and one output")
    return signature
