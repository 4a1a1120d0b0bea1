"""The contract: old clients still work, every line has a comment, and the modules are made from it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

import inferencehub.pb
from inferencehub.pb import inference_pb2

PROTO = Path(__file__).resolve().parents[2] / "proto"

FIRST_CONTRACT = """
syntax = "proto3";
package inference;
service ModelInference { rpc Predict(PredictRequest) returns (PredictResponse); }
message PredictRequest { repeated float features = 1; string model_name = 2; }
message PredictResponse { int32 class_id = 1; float confidence = 2; string error = 3; }
"""


def compile_protos(folder: Path, out: Path, *options: str) -> descriptor_pb2.FileDescriptorSet:
    """Descriptors of every .proto in `folder`, imported files first."""
    found = out / "descriptors"
    sources = sorted(str(path) for path in folder.glob("*.proto"))
    arguments = [f"-I{folder}", "--include_imports", f"--descriptor_set_out={found}", *options, *sources]
    assert protoc.main(["protoc", *arguments]) == 0
    return descriptor_pb2.FileDescriptorSet.FromString(found.read_bytes())


@pytest.fixture
def first(tmp_path: Path) -> dict[str, Any]:
    """Message classes of a client that was generated from the first contract."""
    (tmp_path / "inference.proto").write_text(FIRST_CONTRACT)
    pool = descriptor_pool.DescriptorPool()
    for file in compile_protos(tmp_path, tmp_path).file:
        pool.AddSerializedFile(file.SerializeToString())
    messages = pool.FindFileByName("inference.proto").message_types_by_name
    return {name: message_factory.GetMessageClass(message) for name, message in messages.items()}


def test_a_request_of_the_first_contract_is_read(first: dict[str, Any]) -> None:
    sent = first["PredictRequest"](features=[0.5, 1.25, -3.5], model_name="v1-mock")
    read = inference_pb2.PredictRequest.FromString(sent.SerializeToString())
    assert list(read.features) == [0.5, 1.25, -3.5]
    assert read.model_name == "v1-mock"
    assert read.text == ""


def test_an_answer_with_a_label_is_read_by_the_first_contract(first: dict[str, Any]) -> None:
    sent = inference_pb2.PredictResponse(class_id=2, confidence=0.75, error="why", label="positive")
    read = first["PredictResponse"].FromString(sent.SerializeToString())
    assert (read.class_id, read.confidence, read.error) == (2, 0.75, "why")


def test_an_error_answer_keeps_its_negative_class(first: dict[str, Any]) -> None:
    sent = inference_pb2.PredictResponse(class_id=-1, error="no such model")
    assert first["PredictResponse"].FromString(sent.SerializeToString()).class_id == -1


def test_fields_of_the_first_contract_keep_number_and_type(first: dict[str, Any]) -> None:
    for name, message in first.items():
        now = getattr(inference_pb2, name).DESCRIPTOR.fields_by_name
        for field in message.DESCRIPTOR.fields:
            kept = now[field.name]
            assert (kept.number, kept.type, kept.is_repeated) == (field.number, field.type, field.is_repeated)


def test_the_path_of_the_rpc_is_that_of_the_first_contract() -> None:
    service = inference_pb2.DESCRIPTOR.services_by_name["ModelInference"]
    assert service.full_name == "inference.ModelInference"
    assert list(service.methods_by_name) == ["Predict"]


def test_every_field_enum_value_and_rpc_has_a_comment(tmp_path: Path) -> None:
    described, bare = 0, []
    for file in compile_protos(PROTO, tmp_path, "--include_source_info").file:
        for location in file.source_code_info.location:
            # Message fields, enum values and rpcs are all child number 2 of what they stand in.
            if len(location.path) % 2 or location.path[-2:-1] != [2]:
                continue
            described += 1
            if not (location.leading_comments or location.trailing_comments).strip():
                bare.append(f"{file.name}:{location.span[0] + 1}")
    lines = [line for path in PROTO.glob("*.proto") for line in path.read_text().splitlines()]
    assert described == sum(bool(re.search(r"= \d+;|^  rpc ", line)) for line in lines) > 0
    assert bare == []


def test_the_modules_in_use_are_those_of_the_protos(tmp_path: Path) -> None:
    generate = runpy.run_path(str(PROTO / "generate.py"))["generate"]
    generate(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    used = Path(inferencehub.pb.__file__).parent
    assert set(made) == {"_pool.py"} | {
        f"{proto.stem}_pb2{end}" for proto in PROTO.glob("*.proto") for end in (".py", ".pyi")
    }
    assert made == {name: (used / name).read_text() for name in made}


def test_generating_again_touches_nothing_and_drops_lost_modules(tmp_path: Path) -> None:
    generate = runpy.run_path(str(PROTO / "generate.py"))["generate"]
    generate(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / "gone_pb2.py").write_text("")
    generate(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
