"""ModelMetadata and ModelConfig, with which a pod describes its models, to a `ModelInfo` and back."""

from __future__ import annotations

from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.pb import model_config_pb2 as config_pb
from inferencehub.pb import open_inference_pb2 as pb

TYPE_NAMES = {number: name.removeprefix("TYPE_") for name, number in config_pb.DataType.items()}
TYPE_NAMES[config_pb.TYPE_STRING] = "BYTES"
TYPE_NUMBERS = {TYPE_NAMES[number]: number for number in config_pb.DataType.values()}

# The parameter that names a model's own environment, and what stands for the model's directory in it: Triton's names.
ENVIRONMENT, MODEL_DIRECTORY = "EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY"
MAX_IN_FLIGHT, MOST_IN_FLIGHT = "max_in_flight", 256


def spec_to_proto(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    """An input or output as ModelMetadata shows it."""
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.dtype, shape=spec.shape)


def info_from_proto(
    version: str, metadata: pb.ModelMetadataResponse, config: config_pb.ModelConfig | None, slots: int
) -> ModelInfo:
    """A `ModelInfo` from a pod's answers.

    Args:
        version: the version that was asked for.
        metadata: the answer to ModelMetadata.
        config: the answer to ModelConfig; None if the pod does not implement that call.
        slots: number of batches that the pod gets at the same time, used if `config` gives no instance count.
    """
    optional = {tensor.name for tensor in config.input if tensor.optional} if config else set()
    batch = config.max_batch_size if config else 0
    scalars = {entry.name for entry in config.input if is_scalar(entry)} if config else set()
    decoupled = config is not None and config.model_transaction_policy.decoupled
    inputs = [
        TensorSpec(
            t.name,
            t.datatype,
            tuple(t.shape),
            t.name in optional,
            not t.shape and not batch and t.name not in scalars,
        )
        for t in metadata.inputs
    ]
    outputs = [TensorSpec(t.name, t.datatype, tuple(t.shape)) for t in metadata.outputs]
    return ModelInfo(
        metadata.name,
        version,
        metadata.platform,
        Signature(tuple(inputs), tuple(outputs), batch, decoupled),
        (slots_of(config) * in_flight(config) if config else 0) or slots,
        parameters_of(config) if config else (),
    )


def slots_of(config: config_pb.ModelConfig) -> int:
    """How many instances a config asks for; 0 if it does not say. A group's count is that of each of its GPUs."""
    return sum(max(1, group.count) * max(1, len(group.gpus)) for group in config.instance_group)


def is_scalar(entry: config_pb.ModelInput) -> bool:
    """Whether a completed config says that an input is a scalar: no dims, and a reshape to none.

    An input of unknown rank has no dims either, but no reshape.
    """
    return not entry.dims and entry.HasField("reshape")


def parameters_of(config: config_pb.ModelConfig) -> tuple[tuple[str, str], ...]:
    """A config's string parameters, sorted by name."""
    return tuple(sorted((name, value.string_value) for name, value in config.parameters.items()))


def in_flight(config: config_pb.ModelConfig) -> int:
    """How many batches an instance gets at the same time: its config's parameter `MAX_IN_FLIGHT`, 1 if that is not valid."""
    text = config.parameters[MAX_IN_FLIGHT].string_value if MAX_IN_FLIGHT in config.parameters else ""
    return int(text) if text.isdecimal() and 1 <= int(text) <= MOST_IN_FLIGHT else 1
