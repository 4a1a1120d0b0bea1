"""The configuration that a server shows is the one that Triton shows for the same config.pbtxt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inferencehub.core.oip.admin.message_json import message_json
from inferencehub.core.oip.admin.model_config import complete, described
from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.inference.models.config import instances, parse_config
from inferencehub.inference.runtimes.support.declared import needs_declaration
from inferencehub.pb import model_config_pb2 as config_pb

# One line for each: a config.pbtxt of a Python model, and what Triton 2.51 answers to GET …/config.
RECORDED = [
    json.loads(line) for line in Path(__file__).with_name("triton_configs.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("recorded", RECORDED, ids=[each["answer"]["name"] for each in RECORDED])
def test_what_a_config_leaves_out_is_filled_in_as_triton_does(recorded: dict[str, Any]) -> None:
    name = recorded["answer"]["name"]
    config = parse_config(recorded["config"], name)
    info = ModelInfo(name, "1", "python", needs_declaration(config), instances(config))
    shown = message_json(complete(config, info, "model.py"))
    assert shown == recorded["answer"]
    assert list(shown) == list(recorded["answer"])
    assert list(shown["output"][0]) == list(recorded["answer"]["output"][0])


def test_what_only_the_model_file_says_is_filled_in() -> None:
    config = config_pb.ModelConfig(backend="onnxruntime", max_batch_size=4)
    config.output.add(name="y", label_filename="labels.txt")
    signature = Signature((TensorSpec("x", "BYTES", (-1, 2, -1)),), (TensorSpec("y", "FP16", (-1, 5)),), 4)
    shown = message_json(complete(config, ModelInfo("m", "1", "onnxruntime", signature, 3), "model.onnx"))
    assert (shown["platform"], shown["backend"]) == ("onnxruntime_onnx", "onnxruntime")
    assert shown["default_model_filename"] == "model.onnx"
    assert [group["count"] for group in shown["instance_group"]] == [3]
    (taken,), (given,) = shown["input"], shown["output"]
    assert (taken["name"], taken["data_type"], taken["dims"]) == ("x", "TYPE_STRING", [2, -1])
    assert (given["data_type"], given["dims"], given["label_filename"]) == ("TYPE_FP16", [5], "labels.txt")


def test_a_platform_gives_its_backend() -> None:
    config = config_pb.ModelConfig(platform="onnxruntime_onnx")
    complete(config, ModelInfo("m", "1", "onnxruntime_onnx", Signature((), ())))
    assert config.backend == "onnxruntime"


def test_a_model_without_a_config_is_described_by_what_is_known() -> None:
    signature = Signature((TensorSpec("x", "FP32", (-1, 3)),), (TensorSpec("y", "INT64", (2,)),))
    shown = message_json(described(ModelInfo("m", "", "sklearn", signature, 2, (("a", "b"),))))
    assert (shown["name"], shown["platform"], shown["max_batch_size"]) == ("m", "sklearn", 0)
    assert [(t["name"], t["data_type"], t["dims"]) for t in (*shown["input"], *shown["output"])] == [
        ("x", "TYPE_FP32", [-1, 3]),
        ("y", "TYPE_INT64", [2]),
    ]
    assert shown["parameters"] == {"a": {"string_value": "b"}}


def test_integers_of_64_bits_and_keys_of_maps_keep_their_values() -> None:
    config = config_pb.ModelConfig()
    config.dynamic_batching.max_queue_delay_microseconds = 2**64 - 1
    config.dynamic_batching.priority_queue_policy[3].max_queue_size = 7
    shown = message_json(config)["dynamic_batching"]
    assert shown["max_queue_delay_microseconds"] == 2**64 - 1
    assert shown["priority_queue_policy"]["3"]["max_queue_size"] == 7
    assert shown["priority_queue_policy"]["3"]["timeout_action"] == "REJECT"
