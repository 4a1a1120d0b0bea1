"""ModelMetadata and ModelConfig, with which a pod describes its models, to a `ModelInfo` and back."""

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
    """A `ModelInfo` from a pod's answers.

    Args:
        version: the version that was asked for.
        metadata: the answer to ModelMetadata.
        config: the answer to ModelConfig; None if the pod does not implement that call.
        slots: number of batches that the pod gets at the same time, used if `config` gives no instance count.
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
