"""Our messages and tritonclient's have the same full names: both can be imported, in either order."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

OURS = "from inferencehub.pb import inference_pb2, model_config_pb2, open_inference_pb2 as ours"
THEIRS = "import tritonclient.grpc; from tritonclient.grpc import service_pb2 as theirs"

EXCHANGE = """
def fill(request):
    request.model_name = "digits"
    tensor = request.inputs.add(name="input", datatype="FP32", shape=[2, 1])
    tensor.parameters["note"].string_param = "kept"
    for key, field, value in [("b", "bool_param", True), ("i", "int64_param", -7), ("s", "string_param", "t"),
                              ("d", "double_param", 0.25), ("u", "uint64_param", 2**63)]:
        setattr(request.parameters[key], field, value)
    request.raw_input_contents.append(bytes(range(8)))
    return request

def same(left, right):
    assert left.SerializeToString(deterministic=True) == right.SerializeToString(deterministic=True)
    assert right.model_name == "digits" and list(right.inputs[0].shape) == [2, 1]
    assert right.inputs[0].parameters["note"].string_param == "kept"
    assert right.parameters["u"].uint64_param == 2**63 and right.parameters["d"].double_param == 0.25
    assert right.raw_input_contents[0] == bytes(range(8))

sent = fill(ours.ModelInferRequest())
same(sent, theirs.ModelInferRequest.FromString(sent.SerializeToString()))
sent = fill(theirs.ModelInferRequest())
same(sent, ours.ModelInferRequest.FromString(sent.SerializeToString()))
assert ours.ModelInferRequest.DESCRIPTOR.full_name == theirs.ModelInferRequest.DESCRIPTOR.full_name
assert ours.ModelInferRequest.DESCRIPTOR is not theirs.ModelInferRequest.DESCRIPTOR
"""

ALONE = """
from google.protobuf import descriptor_pool
from google.protobuf.internal import api_implementation
from inferencehub.pb._pool import POOL

assert api_implementation.Type() == "upb", api_implementation.Type()
assert POOL.FindMessageTypeByName("inference.ModelInferRequest") is ours.ModelInferRequest.DESCRIPTOR
assert ours.ModelConfigResponse().config.DESCRIPTOR is model_config_pb2.ModelConfig.DESCRIPTOR
for name in ("inference.ModelInferRequest", "inference.PredictRequest", "inference.ModelConfig"):
    try:
        descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        continue
    raise AssertionError(f"{name} is in the process-wide pool")
"""

SHARED = """
from google.protobuf import descriptor_pool

try:
    descriptor_pool.Default().AddSerializedFile(ours.DESCRIPTOR.serialized_pb)
except TypeError:
    pass
else:
    raise AssertionError("the process-wide pool took the same names twice")
"""


def run_fresh(*lines: str) -> None:
    """Run `lines` in a new interpreter; fails with its stderr."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "imports", [(OURS, THEIRS), (THEIRS, OURS)], ids=["ours first", "tritonclient first"]
)
def test_both_sets_of_messages_work_in_one_process(imports: tuple[str, str]) -> None:
    run_fresh(*imports, EXCHANGE)


def test_our_messages_stay_out_of_the_process_wide_pool() -> None:
    run_fresh(OURS, ALONE)


def test_one_shared_pool_would_have_refused_them() -> None:
    run_fresh(THEIRS, OURS, SHARED)
