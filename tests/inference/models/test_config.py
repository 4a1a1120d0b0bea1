"""config.pbtxt: which fields of Triton's schema are used, noted or refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.signature import Signature, TensorSpec
from inferencehub.inference.models.config import HONOURED, NOTED, instances, parse_config
from inferencehub.inference.runtimes.support.declared import declared, needs_declaration
from inferencehub.pb import model_config_pb2 as config_pb

TAKEN = {
    "name": 'name: "m"',
    "platform": 'platform: "onnxruntime_onnx"',
    "backend": 'backend: "onnxruntime"',
    "max_batch_size": "max_batch_size: 8",
    "default_model_filename": 'default_model_filename: "other.onnx"',
    "parameters": 'parameters { key: "a" value { string_value: "b" } }',
    "version_policy": "version_policy { latest { num_versions: 2 } }",
    "input.name": 'input { name: "x" }',
    "input.data_type": "input { data_type: TYPE_FP32 }",
    "input.dims": "input { dims: [ 3 ] }",
    "input.optional": "input { optional: true }",
    "output.name": 'output { name: "y" }',
    "output.data_type": "output { data_type: TYPE_FP32 }",
    "output.dims": "output { dims: [ 3 ] }",
    "output.label_filename": 'output { label_filename: "labels.txt" }',
    "instance_group.count": "instance_group { count: 2 }",
    "instance_group.gpus": "instance_group { kind: KIND_GPU gpus: [ 0 ] }",
    "instance_group.kind": "instance_group { kind: KIND_CPU }",
    "instance_group.name": 'instance_group { name: "g" }',
    "model_transaction_policy.decoupled": "model_transaction_policy { decoupled: true }",
    "model_warmup": 'model_warmup { name: "w" }',
    "input.reshape": "input { dims: [ 1 ] reshape { shape: [ ] } }",
    "ensemble_scheduling.step": 'platform: "ensemble" ensemble_scheduling { step { model_name: "a" } }',
    "output.reshape": "output { dims: [ -1, 6 ] reshape { shape: [ -1, 2, 3 ] } }",
}
WITHOUT_EFFECT = {
    "input.format": "input { format: FORMAT_NCHW }",
    "instance_group.rate_limiter": "instance_group { rate_limiter { priority: 2 } }",
    "instance_group.host_policy": 'instance_group { host_policy: "p" }',
    "optimization": "optimization { graph { level: 1 } }",
    "dynamic_batching.preferred_batch_size": "dynamic_batching { preferred_batch_size: [ 4, 8 ] }",
    "dynamic_batching.max_queue_delay_microseconds": "dynamic_batching { max_queue_delay_microseconds: 100 }",
    "dynamic_batching.preserve_ordering": "dynamic_batching { preserve_ordering: true }",
    "metric_tags": 'metric_tags { key: "a" value: "b" }',
    "model_metrics": "model_metrics { }",
    "response_cache": "response_cache { enable: true }",
    "model_repository_agents": 'model_repository_agents { agents { name: "a" } }',
    "ensemble_scheduling.max_inflight_requests": 'platform: "ensemble" ensemble_scheduling { max_inflight_requests: 4 }',
}
REFUSED = {
    "cc_model_filenames": 'cc_model_filenames { key: "7.5" value: "a" }',
    "sequence_batching": "sequence_batching { }",
    "model_operations": 'model_operations { op_library_filename: "a.so" }',
    "batch_input": "batch_input { kind: BATCH_ITEM_SHAPE }",
    "batch_output": 'batch_output { target_name: "y" }',
    "runtime": 'runtime: "libx.so"',
    "input.is_shape_tensor": "input { is_shape_tensor: true }",
    "input.allow_ragged_batch": "input { allow_ragged_batch: true }",
    "input.is_non_linear_format_io": "input { is_non_linear_format_io: true }",
    "output.is_shape_tensor": "output { is_shape_tensor: true }",
    "output.is_non_linear_format_io": "output { is_non_linear_format_io: true }",
    "instance_group.profile": 'instance_group { profile: "p" }',
    "instance_group.passive": "instance_group { passive: true }",
    "instance_group.secondary_devices": "instance_group { secondary_devices { device_id: 1 } }",
    "dynamic_batching.priority_levels": "dynamic_batching { priority_levels: 2 }",
    "dynamic_batching.default_priority_level": "dynamic_batching { default_priority_level: 1 }",
    "dynamic_batching.default_queue_policy": "dynamic_batching { default_queue_policy { max_queue_size: 4 } }",
    "dynamic_batching.priority_queue_policy": "dynamic_batching { priority_queue_policy { key: 1 value { } } }",
}


def refusal(text: str) -> str:
    with pytest.raises(HubError) as caught:
        declared(parse_config(text, "m"))
    assert caught.value.kind is Kind.BAD_INPUT
    return caught.value.detail


def fields(descriptor: Any, prefix: str = "") -> Iterator[str]:
    """The schema's fields, as deep as the cases above go."""
    for field in descriptor.fields:
        path = prefix + field.name
        if any(case.startswith(path + ".") for case in TAKEN | WITHOUT_EFFECT | REFUSED):
            yield from fields(field.message_type, path + ".")
        else:
            yield path


def test_each_field_of_the_schema_is_in_a_group() -> None:
    assert (
        set(fields(config_pb.ModelConfig.DESCRIPTOR)) == TAKEN.keys() | WITHOUT_EFFECT.keys() | REFUSED.keys()
    )
    assert TAKEN.keys() == HONOURED
    assert WITHOUT_EFFECT.keys() == NOTED


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
def test_what_is_honoured_is_taken_in_silence(text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    parse_config(text, "m")
    assert not caplog.records


@pytest.mark.parametrize(("field", "text"), WITHOUT_EFFECT.items(), ids=WITHOUT_EFFECT)
def test_a_hint_is_noted_in_the_log(field: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    parse_config(text, "m")
    (record,) = caplog.records
    assert record.getMessage() == "config field has no effect"
    assert (vars(record)["model"], vars(record)["field"]) == ("m", field)


@pytest.mark.parametrize(("field", "text"), REFUSED.items(), ids=REFUSED)
def test_the_rest_is_refused_by_name(field: str, text: str) -> None:
    assert refusal(text) == f"config.pbtxt sets '{field}', which is not supported"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('name: "other"', "config.pbtxt names the model 'other', its directory 'm'"),
        ("max_batch_size: -1", "config.pbtxt: max_batch_size -1, expected 0 or more"),
        (
            "instance_group { gpus: [ 0 ] }",
            "config.pbtxt: instance_group lists gpus, expected kind: KIND_GPU beside them",
        ),
        (
            "instance_group { kind: KIND_GPU gpus: [ 0, -1 ] }",
            "config.pbtxt: instance_group lists gpus [0, -1], expected 0 or more",
        ),
        (
            "instance_group [ { count: 1000 }, { count: 2000000000 } ]",
            "config.pbtxt: instance_group asks for 2000001000 instances, expected at most 1024",
        ),
        ("instance_group { count: -2 }", "config.pbtxt: instance_group count -2, expected 1 or more"),
        (
            "input { data_type: TYPE_FP32 dims: 1 }",
            "config.pbtxt: input '' needs a name and a data_type, got type FP32",
        ),
        (
            'input { name: "x" dims: 1 }',
            "config.pbtxt: input 'x' needs a name and a data_type, got type INVALID",
        ),
        (
            'output { name: "y" data_type: TYPE_FP32 }',
            "config.pbtxt: output 'y' has dims [], expected one or more of -1 or above 0",
        ),
        (
            'input { name: "x" data_type: TYPE_FP32 dims: [ 3, 0 ] }',
            "config.pbtxt: input 'x' has dims [3, 0], expected one or more of -1 or above 0",
        ),
        (
            'input { name: "x" data_type: TYPE_FP32 dims: -2 }',
            "config.pbtxt: input 'x' has dims [-2], expected one or more of -1 or above 0",
        ),
    ],
)
def test_values_out_of_range_are_named(text: str, sentence: str) -> None:
    assert refusal(text) == sentence


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ('backend: "mock"\nbatch: 4', "2:1", '"batch"'),
        ('backend: "mock"\n\nmax_batch_size: "4"', "3:17", '"4"'),
        ("input { data_type: FP32 }", "1:20", "FP32"),
        ("input { name: ", "1", "string"),
        ("max_batch_size: 1\nmax_batch_size: 2", "2:1", '"max_batch_size"'),
    ],
)
def test_what_is_no_config_is_refused_with_its_line(text: str, place: str, what: str) -> None:
    sentence = refusal(text)
    assert sentence.startswith(f"config.pbtxt cannot be read: {place}"), sentence
    assert what in sentence


def test_the_name_is_the_directory_s() -> None:
    assert parse_config("", "m").name == "m"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("instance_group { }", 1),
        ("instance_group { count: 3 }", 3),
        ("instance_group [ { count: 3 }, { count: 2 kind: KIND_CPU }, { } ]", 6),
    ],
)
def test_instances_of_all_groups_count(text: str, count: int) -> None:
    assert instances(parse_config(text, "m")) == count


def test_the_batch_dimension_comes_first_where_the_model_batches() -> None:
    text = """
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] }, { name: "s" data_type: TYPE_STRING dims: [ -1, 2 ] optional: true } ]
        output { name: "y" data_type: TYPE_BF16 dims: [ 1 ] }
    """
    assert declared(parse_config(text, "m")) == Signature(
        (TensorSpec("x", "FP32", (3,)), TensorSpec("s", "BYTES", (-1, 2), optional=True)),
        (TensorSpec("y", "BF16", (1,)),),
    )
    assert declared(parse_config(text + "max_batch_size: 4", "m")) == Signature(
        (TensorSpec("x", "FP32", (-1, 3)), TensorSpec("s", "BYTES", (-1, -1, 2), optional=True)),
        (TensorSpec("y", "BF16", (-1, 1)),),
        4,
    )


def test_a_runtime_whose_file_tells_nothing_needs_a_declaration() -> None:
    text = 'backend: "python" input { name: "x" data_type: TYPE_FP32 dims: [ 3 ] }'
    with pytest.raises(HubError) as caught:
        needs_declaration(parse_config(text, "m"))
    assert caught.value.detail == "config.pbtxt: backend 'python' needs at least one input and one output"
