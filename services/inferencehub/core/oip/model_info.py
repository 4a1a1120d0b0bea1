"""What a pod says of its models: ModelMetadata and ModelConfig to a `ModelInfo` and back."""

from __future__ import annotations

from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.pb import model_config_pb2 as config_pb
from inferencehub.pb import open_inference_pb2 as pb

TYPE_NAMES = {number: name.removeprefix("TYPE_") for name, number in config_pb.DataType.items()}
TYPE_NAMES[config_pb.TYPE_STRING] = "BYTES"


def spec_to_proto(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    """An input or output as ModelMetadata shows it."""
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.dtype, shape=spec.shape)


def info_from_proto(
    version: str, metadata: pb.ModelMetadataResponse, config: config_pb.ModelConfig | None, slots: int
) -> ModelInfo:
    """What a backend says of one of its models; `slots` is used where it tells no instance count.

    Args:
        version: the version that was asked for.
        metadata: ModelMetadata's answer.
        config: ModelConfig's, None where the backend has no such call.
        slots: batches it may be given at a time, if it does not say so.
    """
    optional = {tensor.name for tensor in config.input if tensor.optional} if config else set()
    inputs = [TensorSpec(t.name, t.datatype, tuple(t.shape), t.name in optional) for t in metadata.inputs]
    outputs = [TensorSpec(t.name, t.datatype, tuple(t.shape)) for t in metadata.outputs]
    return ModelInfo(
        metadata.name,
        version,
        metadata.platform,
        Signature(tuple(inputs), tuple(outputs), config.max_batch_size if config else 0),
        (sum(group.count for group in config.instance_group) if config else 0) or slots,
        parameters_of(config) if config else (),
    )


def parameters_of(config: config_pb.ModelConfig) -> tuple[tuple[str, str], ...]:
    """A config's string parameters, sorted by name."""
    return tuple(sorted((name, value.string_value) for name, value in config.parameters.items()))
