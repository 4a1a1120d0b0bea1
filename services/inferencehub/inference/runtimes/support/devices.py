"""Which device each instance of a model is on."""

from __future__ import annotations

from inferencehub.pb import model_config_pb2 as config_pb

CPU = -1  # the device that is no GPU


def devices_of(config: config_pb.ModelConfig) -> list[int]:
    """The device of each instance: the number of a GPU, or `CPU`. A group of GPUs without numbers is on the first one."""
    devices = []
    for group in config.instance_group:
        on_gpu = group.kind == config_pb.ModelInstanceGroup.KIND_GPU
        for device in (list(group.gpus) or [0]) if on_gpu else [CPU]:
            devices += [device] * max(1, group.count)
    return devices or [CPU]
