"""The ModelConfig that a server shows: what a config leaves out is filled in, as Triton does when it loads a model.

Source: Triton's core, `model_config_utils.cc`, and answers of a running Triton.
"""

from __future__ import annotations

from typing import cast

from inferencehub.core.oip.model_info import TYPE_NUMBERS, in_flight
from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.pb import model_config_pb2 as config_pb

# Triton's names of one kind of model: platform and backend.
PLATFORMS = {"onnxruntime_onnx": "onnxruntime"}


def complete(config: config_pb.ModelConfig, info: ModelInfo, model_file: str = "") -> config_pb.ModelConfig:
    """Fill in what a config leaves out, and return it.

    Args:
        config: the config, which is changed.
        info: the model; its signature has what the model file says about inputs and outputs.
        model_file: the name of the model's file; "" if it is not known or there is none.
    """
    config.name = info.name
    fill_names(config)
    fill_tensors(config, info.signature)
    fill_instances(config, info.slots // in_flight(config))
    if config.version_policy.WhichOneof("policy_choice") is None:
        config.version_policy.latest.num_versions = 1
    if not config.default_model_filename:
        config.default_model_filename = model_file
    for name in ("input_pinned_memory", "output_pinned_memory"):
        if not config.optimization.HasField(name):
            getattr(config.optimization, name).enable = True
    batching = config.dynamic_batching
    if config.HasField("dynamic_batching") and not batching.preferred_batch_size and config.max_batch_size:
        batching.preferred_batch_size.append(config.max_batch_size)
    return config


def described(info: ModelInfo) -> config_pb.ModelConfig:
    """The config of a model whose server has none."""
    config = config_pb.ModelConfig(platform=info.platform, max_batch_size=info.signature.max_batch_size)
    for name, value in info.parameters:
        config.parameters[name].string_value = value
    return complete(config, info)


def fill_names(config: config_pb.ModelConfig) -> None:
    """Fill in the backend where only a platform is given, and the platform where it follows from the backend."""
    for platform, backend in PLATFORMS.items():
        if config.platform == platform and not config.backend:
            config.backend = backend
        elif config.backend == backend and not config.platform:
            config.platform = platform


def fill_instances(config: config_pb.ModelConfig, count: int) -> None:
    """Fill in the instances: at least one group, each with a name, a kind and a count."""
    if not config.instance_group:
        config.instance_group.add(name=config.name, count=count)
    for index, group in enumerate(config.instance_group):
        group.count = max(1, group.count)
        if not group.name:
            group.name = f"{config.name}_{index}"
        if group.kind == config_pb.ModelInstanceGroup.KIND_AUTO:
            group.kind = config_pb.ModelInstanceGroup.KIND_CPU


def fill_tensors(config: config_pb.ModelConfig, signature: Signature) -> None:
    """Fill in what the model file says about inputs and outputs, as callers see them."""
    inputs = {entry.name: entry for entry in config.input}
    for spec in signature.inputs:
        entry = inputs.get(spec.name) or config.input.add(name=spec.name)
        fill_entry(entry, spec, signature.max_batch_size)
        entry.optional = spec.optional
        if not spec.shape and not spec.any_shape:
            entry.reshape.SetInParent()  # see `is_scalar`
    outputs = {entry.name: entry for entry in config.output}
    for spec in signature.outputs:
        fill_entry(
            outputs.get(spec.name) or config.output.add(name=spec.name), spec, signature.max_batch_size
        )


def fill_entry(
    entry: config_pb.ModelInput | config_pb.ModelOutput, spec: TensorSpec, max_batch_size: int
) -> None:
    """Fill in the type and the dims of a config's input or output."""
    entry.data_type = cast("config_pb.DataType", TYPE_NUMBERS[spec.dtype])
    if not entry.dims:
        entry.dims.extend(spec.shape[1:] if max_batch_size else spec.shape)
