"""config.pbtxt, Triton's model configuration: which fields are honoured, noted or refused.

Every field of the schema is in one of three groups. An honoured field has the same effect as in Triton. A noted field
is a hint that changes no answer (a preferred batch size, an optimisation); a log line says that it has no effect. Every
other field is refused. A model that runs differently from what its author wrote is worse than one that does not start.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from google.protobuf import json_format, text_format
from google.protobuf.message import Message

from inferencehub.core.oip.ensembles.steps import PLATFORM
from inferencehub.core.oip.model_info import slots_of
from inferencehub.core.values.errors import bad_input, listed
from inferencehub.core.values.signature import JSON_OUTPUTS, Signature, names_in
from inferencehub.inference.models.reshape import check_reshapes
from inferencehub.pb import model_config_pb2 as config_pb

logger = logging.getLogger(__name__)

MOST_INSTANCES = 1024
HONOURED = {
    "name",
    "platform",
    "backend",
    "max_batch_size",
    "default_model_filename",
    "parameters",
    "version_policy",
    "input.name",
    "input.data_type",
    "input.dims",
    "input.optional",
    "input.reshape",
    "output.name",
    "output.data_type",
    "output.dims",
    "output.label_filename",
    "output.reshape",
    "instance_group.count",
    "instance_group.gpus",
    "instance_group.kind",
    "instance_group.name",
    "model_transaction_policy.decoupled",
    "model_warmup",
    "ensemble_scheduling.step",
}
NOTED = {
    "input.format",
    "instance_group.rate_limiter",
    "instance_group.host_policy",
    "optimization",
    "dynamic_batching.preferred_batch_size",
    "dynamic_batching.max_queue_delay_microseconds",
    "dynamic_batching.preserve_ordering",
    "metric_tags",
    "model_metrics",
    "response_cache",
    "model_repository_agents",
    "ensemble_scheduling.max_inflight_requests",
}


def parse_config(text: str, name: str) -> config_pb.ModelConfig:
    """Parse a config.pbtxt, and check its fields against the groups above.

    Args:
        text: the file's content.
        name: the name of the model's directory.

    Raises:
        HubError: BAD_INPUT that names the line or the field.
    """
    config = config_pb.ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise bad_input(f"config.pbtxt cannot be read: {error}") from None
    return checked(config, name)


def config_of_json(text: str, name: str) -> config_pb.ModelConfig:
    """A configuration that a caller gives as JSON, with the fields of config.pbtxt; checked as that.

    Raises:
        HubError: BAD_INPUT that names the field.
    """
    try:
        return checked(json_format.Parse(text, config_pb.ModelConfig()), name)
    except json_format.ParseError as error:
        raise bad_input(f"the parameter 'config' is no configuration in JSON: {error}") from None


def checked(config: config_pb.ModelConfig, name: str) -> config_pb.ModelConfig:
    """A configuration whose fields are all honoured or noted; it gets the model's name.

    Raises:
        HubError: BAD_INPUT as `parse_config`.
    """
    if config.name and config.name != name:
        raise bad_input(f"config.pbtxt names the model '{config.name}', its directory '{name}'")
    config.name = name
    if config.max_batch_size < 0:
        raise bad_input(f"config.pbtxt: max_batch_size {config.max_batch_size}, expected 0 or more")
    for path in sorted(set(fields_set(config))):
        if path in NOTED:
            logger.info("config field has no effect", extra={"model": name, "field": path})
        elif path not in HONOURED:
            raise bad_input(f"config.pbtxt sets '{path}', which is not supported")
    check_reshapes(config)
    if config.HasField("ensemble_scheduling") and PLATFORM not in (config.platform, config.backend):
        raise bad_input(f"config.pbtxt sets 'ensemble_scheduling', expected platform: \"{PLATFORM}\" with it")
    for group in config.instance_group:
        if group.gpus and group.kind != config_pb.ModelInstanceGroup.KIND_GPU:
            raise bad_input("config.pbtxt: instance_group lists gpus, expected kind: KIND_GPU beside them")
        if any(gpu < 0 for gpu in group.gpus):
            raise bad_input(f"config.pbtxt: instance_group lists gpus {list(group.gpus)}, expected 0 or more")
        if group.count < 0:
            raise bad_input(f"config.pbtxt: instance_group count {group.count}, expected 1 or more")
    if instances(config) > MOST_INSTANCES:
        raise bad_input(
            f"config.pbtxt: instance_group asks for {instances(config)} instances, expected at most {MOST_INSTANCES}"
        )
    return config


def fields_set(message: Message, prefix: str = "") -> Iterator[str]:
    """The dotted names of all fields that are set, in the same depth as in the groups above."""
    for field, value in message.ListFields():
        path = prefix + field.name
        inner = any(known.startswith(path + ".") for known in HONOURED | NOTED)
        if not inner:
            yield path
        elif field.is_repeated:
            for item in value:
                yield from fields_set(item, path + ".")
        else:
            yield from fields_set(value, path + ".")


def check_json_outputs(config: config_pb.ModelConfig, signature: Signature) -> None:
    """Check the parameter `json_outputs`.

    Raises:
        HubError: BAD_INPUT if it lists anything but outputs of BYTES.
    """
    if JSON_OUTPUTS not in config.parameters:
        return
    texts = [spec.name for spec in signature.outputs if spec.dtype == "BYTES"]
    for name in names_in(config.parameters[JSON_OUTPUTS].string_value):
        if name not in texts:
            expected = listed(map(repr, texts)) if texts else "none, as no output is BYTES"
            raise bad_input(f"config.pbtxt: {JSON_OUTPUTS} lists '{name[:80]}', expected of: {expected}")


def instances(config: config_pb.ModelConfig) -> int:
    """How many instances the config asks for; 1 if it does not say."""
    return slots_of(config) or 1
