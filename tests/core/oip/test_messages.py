"""Values to protobuf and back, and the messages that tritonclient sends and reads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencehub.core.lane.job import Member
from inferencehub.core.oip import extension, messages, model_info, raw_fields
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest, InferResponse, Parameter
from inferencehub.core.values.signature import ModelInfo, Signature, TensorSpec
from inferencehub.core.values.tensors import DTYPES, Tensor
from inferencehub.pb import model_config_pb2 as config_pb
from inferencehub.pb import open_inference_pb2 as pb
from tests.any_tensors import tensors
from tests.written import request_to_proto, response_to_proto

PARAMETERS: dict[str, Parameter] = {
    "yes": True,
    "no": False,
    "one": 1,
    "least": -(2**63),
    "most": 2**63 - 1,
    "beyond": 2**63,
    "unsigned": 2**64 - 1,
    "float": 1.0,
    "text": "größer",
    "empty": "",
}


@st.composite
def some_tensors(draw: st.DrawFn) -> tuple[Tensor, ...]:
    return tuple([draw(tensors(name)) for name in draw(st.lists(st.text(max_size=5), max_size=3))])


@settings(deadline=None)
@given(some_tensors(), st.lists(st.text(max_size=3)))
def test_a_request_comes_out_as_it_went_in(inputs: tuple[Tensor, ...], outputs: list[str]) -> None:
    request = InferRequest("m", "3", inputs, tuple(outputs), PARAMETERS)
    sent = request_to_proto(request, '[[1,5,"id"]]').SerializeToString()
    assert messages.request_from_proto(pb.ModelInferRequest.FromString(sent)) == request


@settings(deadline=None)
@given(some_tensors())
def test_an_answer_comes_out_as_it_went_in(outputs: tuple[Tensor, ...]) -> None:
    response = InferResponse("m", "3", outputs, PARAMETERS)
    sent = response_to_proto(response, "an id").SerializeToString()
    message = pb.ModelInferResponse.FromString(sent)
    assert message.id == "an id"
    assert messages.response_from_proto(message) == response


@pytest.mark.parametrize("value", PARAMETERS.values(), ids=PARAMETERS)
def test_a_parameter_keeps_its_type(value: Parameter) -> None:
    message = pb.ModelInferRequest()
    messages.set_parameter(message.parameters["p"], value)
    read = messages.parameters_from_proto(message.parameters)["p"]
    assert (read, type(read)) == (value, type(value))


def test_a_split_tensor_can_be_sent() -> None:
    data = memoryview(bytes(8))[4:]
    message = request_to_proto(InferRequest("m", "", (Tensor("x", "FP32", (1,), data),)))
    assert message.raw_input_contents[0] == bytes(4)


def test_parameters_of_ours_and_those_without_a_value_are_left_out() -> None:
    message = pb.ModelInferRequest()
    message.parameters["hub_members"].string_param = "[]"
    message.parameters["hub_anything"].int64_param = 1
    message.parameters["nothing"].SetInParent()
    message.parameters["kept"].bool_param = False
    assert messages.request_from_proto(message).parameters == {"kept": False}


TYPED: list[tuple[str, str, list[Any], bytes]] = [
    ("BOOL", "bool_contents", [True, False], b"\1\0"),
    ("INT8", "int_contents", [-128, 127], array("b", [-128, 127]).tobytes()),
    ("INT16", "int_contents", [-(2**15), 5], array("h", [-(2**15), 5]).tobytes()),
    ("INT32", "int_contents", [-(2**31), 5], array("i", [-(2**31), 5]).tobytes()),
    ("INT64", "int64_contents", [-(2**63), 5], array("q", [-(2**63), 5]).tobytes()),
    ("UINT8", "uint_contents", [255, 0], b"\xff\0"),
    ("UINT16", "uint_contents", [2**16 - 1, 0], b"\xff\xff\0\0"),
    ("UINT32", "uint_contents", [2**32 - 1, 0], b"\xff\xff\xff\xff\0\0\0\0"),
    ("UINT64", "uint64_contents", [2**64 - 1, 0], b"\xff" * 8 + bytes(8)),
    ("FP32", "fp32_contents", [1.5, -0.0], array("f", [1.5, -0.0]).tobytes()),
    ("FP64", "fp64_contents", [0.1, 1e300], array("d", [0.1, 1e300]).tobytes()),
    ("BYTES", "bytes_contents", [b"ab", b""], b"\2\0\0\0ab\0\0\0\0"),
]


def typed(dtype: str, field: str, elements: list[Any], shape: tuple[int, ...] = (2,)) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="m")
    tensor = message.inputs.add(name="x", datatype=dtype, shape=shape)
    getattr(tensor.contents, field).extend(elements)
    return message


@pytest.mark.parametrize(("dtype", "field", "elements", "raw"), TYPED, ids=[row[0] for row in TYPED])
def test_typed_contents_become_raw_bytes(dtype: str, field: str, elements: list[Any], raw: bytes) -> None:
    assert messages.request_from_proto(typed(dtype, field, elements)).inputs == (
        Tensor("x", dtype, (2,), raw),
    )


@pytest.mark.parametrize(("dtype", "field", "elements", "raw"), TYPED, ids=[t[0] for t in TYPED])
def test_typed_outputs_become_raw_bytes(dtype: str, field: str, elements: list[Any], raw: bytes) -> None:
    message = pb.ModelInferResponse(model_name="m")
    for name, count in (("y", 2), ("none", 0)):
        output = message.outputs.add(name=name, datatype=dtype, shape=[count])
        getattr(output.contents, field).extend(elements[:count])
    read = messages.response_from_proto(message)
    assert read.outputs == (Tensor("y", dtype, (2,), raw), Tensor("none", dtype, (0,), b""))


@pytest.mark.parametrize(
    ("dtype", "shape", "contents", "said"),
    [
        ("FP32", [2], {"fp32_contents": [1.0]}, "tensor 'y': shape [2] of FP32 needs 8 bytes, got 4"),
        ("FP32", [1], {"fp32_contents": [1.0, 2.0]}, "tensor 'y': shape [1] of FP32 needs 4 bytes, got 8"),
        ("FP32", [1], {}, "0 raw_output_contents for 1 outputs"),
        ("FP32", [1], {"fp32_contents": []}, "tensor 'y': shape [1] of FP32 needs 4 bytes, got 0"),
        ("FP32", [1], {"fp64_contents": [1.0]}, "output 'y': FP32 in fp64_contents, expected fp32_contents"),
        (
            "INT64",
            [1],
            {"int64_contents": [1], "int_contents": [2]},
            "output 'y': INT64 in int_contents, expected int64_contents",
        ),
        ("INT8", [1], {"int_contents": [128]}, "output 'y': a value does not fit INT8"),
        ("FP16", [1], {"fp32_contents": [1.0]}, "output 'y': FP16 goes in raw_output_contents only"),
        ("BYTES", [2], {"bytes_contents": [b"a"]}, "tensor 'y': 5 bytes are not exactly 2 BYTES elements"),
        ("FP32", [-1], {"fp32_contents": [1.0]}, "tensor 'y': dimension -1 in shape"),
        ("TEXT", [1], {"bytes_contents": [b"a"]}, "output 'y': TEXT goes in raw_output_contents only"),
    ],
)
def test_outputs_that_do_not_fit_are_the_servers_fault(
    dtype: str, shape: list[int], contents: dict[str, list[Any]], said: str
) -> None:
    message = pb.ModelInferResponse(model_name="m")
    output = message.outputs.add(name="y", datatype=dtype, shape=shape)
    for field, elements in contents.items():
        getattr(output.contents, field).extend(elements)
    with pytest.raises(ValueError, match=re.escape(said)):
        messages.response_from_proto(message)


def test_every_dtype_with_typed_contents_is_tried() -> None:
    assert {dtype for dtype, *_ in TYPED} == set(messages.CONTENTS) == set(DTYPES) - {"FP16", "BF16"}


def both() -> pb.ModelInferRequest:
    message = typed("INT8", "int_contents", [1, 2])
    message.raw_input_contents.append(b"ab")
    return message


def fewer_raw() -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="m", raw_input_contents=[b"a"])
    message.inputs.add(name="x", datatype="INT8", shape=[1])
    message.inputs.add(name="y", datatype="INT8", shape=[1])
    return message


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (typed("INT8", "int_contents", [128, 0]), "input 'x': a value does not fit INT8"),
        (typed("UINT16", "uint_contents", [2**16, 0]), "input 'x': a value does not fit UINT16"),
        (typed("FP16", "fp32_contents", [1, 2]), "input 'x': FP16 goes in raw_input_contents only"),
        (typed("BF16", "fp32_contents", [1, 2]), "input 'x': BF16 goes in raw_input_contents only"),
        (typed("INT8", "int_contents", [1]), "needs 2 bytes, got 1"),
        (typed("FP32", "fp64_contents", [1, 2]), "needs 8 bytes, got 0"),
        (typed("INT8", "int_contents", [1, 2], (-2,)), "dimension -2 in shape"),
        (both(), "input 'x': contents and raw_input_contents both, expected one of them"),
        (fewer_raw(), "1 raw_input_contents for 2 inputs, expected one for each"),
    ],
)
def test_contents_that_do_not_fit_are_refused_by_a_sentence(
    message: pb.ModelInferRequest, sentence: str
) -> None:
    with pytest.raises(HubError) as refusal:
        messages.request_from_proto(message)
    assert refusal.value.kind is Kind.BAD_INPUT
    assert sentence in refusal.value.detail


def test_a_pod_s_answer_without_its_bytes_is_no_answer() -> None:
    message = response_to_proto(InferResponse("m", "1", (Tensor("x", "INT8", (1,), b"a"),)))
    del message.raw_output_contents[:]
    with pytest.raises(ValueError, match="0 raw_output_contents for 1 outputs"):
        messages.response_from_proto(message)


def test_members_are_read_back_on_another_clock() -> None:
    members = (Member(1, 13.0, "a", "ci", "search"), Member(3, 10.5, "b", "web"), Member(1, 9.0, "c"))
    text = extension.members_to_text(members, 10.0, callers=True)
    assert extension.members_from_proto(text, rows=5, now=100.0, latest=102.0) == (
        Member(1, 102.0, "a", "ci", "search"),
        Member(3, 100.5, "b", "web"),
        Member(1, 100.0 + 1e-6, "c"),
    )
    older = extension.members_to_text(members, 10.0, callers=False)
    assert json.loads(older) == [[1, 3_000_000, "a"], [3, 500_000, "b"], [1, 1, "c"]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "{}",
        "[]",
        "[1]",
        '[[1, 2]]',
        '[[1, 2, "id", 3]]',
        '[["1", 2, "id"]]',
        '[[1.5, 2, "id"]]',
        "[[1, 2, null]]",
        '[[0, 2, "id"]]',
        '[[-1, 2, "a"], [3, 2, "b"]]',
        f'[[1, {"9" * 400}, "id"]]',
        f'[[1, -{"9" * 400}, "id"]]',
        "[" * 5000,
    ],
)  # fmt: skip
def test_members_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(HubError, match="parameter 'hub_members': expected a JSON list") as refusal:
        extension.members_from_proto(text, 10, 0.0, 1.0)
    assert refusal.value.kind is Kind.BAD_INPUT


def test_members_of_other_rows_than_the_inputs_are_refused() -> None:
    for text, rows in (('[[1, 2, "a"]]', 2), ('[[1, 2, "a"], [3, 2, "b"]]', 3)):
        with pytest.raises(HubError) as refusal:
            extension.members_from_proto(text, rows, 0.0, 1.0)
        assert (
            refusal.value.detail == f"parameter 'hub_members': expected {rows} rows in all, as in the inputs"
        )


def test_members_longer_than_their_rows_can_be_are_refused_by_their_size() -> None:
    text = "[" + ",".join(['[1,2,""]'] * 2_000_000) + "]"
    for rows in (1, 3):
        with pytest.raises(HubError) as refusal:
            extension.members_from_proto(text, rows, 0.0, 1.0)
        assert refusal.value.detail == (
            f"parameter 'hub_members': {len(text)} characters for {rows} rows, expected at most 2048 for each"
        )
    longest = json.dumps([[1, -(2**53), '"' * 128, '"' * 200, '"' * 200]] * 64)
    assert len(extension.members_from_proto(longest, 64, 0.0, 1.0)) == 64


def test_a_model_is_known_by_its_metadata_and_its_config() -> None:
    specs = (TensorSpec("x", "FP32", (-1, 3)), TensorSpec("hint", "BYTES", (-1, 1), optional=True))
    metadata = pb.ModelMetadataResponse(
        name="m",
        platform="onnxruntime",
        inputs=[model_info.spec_to_proto(spec) for spec in specs],
        outputs=[model_info.spec_to_proto(specs[0])],
    )
    config = config_pb.ModelConfig(max_batch_size=8)
    config.input.add(name="hint", optional=True)
    config.instance_group.add(count=2)
    config.instance_group.add(count=3)
    config.parameters["b"].string_value = "2"
    config.parameters["a"].string_value = "1"
    known = ModelInfo("m", "1", "onnxruntime", Signature(specs, specs[:1], 8), 5, (("a", "1"), ("b", "2")))
    assert model_info.info_from_proto("1", metadata, config, slots=4) == known
    required = (specs[0], replace(specs[1], optional=False))
    assert model_info.info_from_proto("", metadata, None, slots=4) == ModelInfo(
        "m", "", "onnxruntime", Signature(required, specs[:1], 0), 4
    )


@pytest.fixture(scope="module")
def mirror() -> Iterator[str]:
    """The address of a server that reads each ModelInfer with `wire` and answers its inputs as outputs."""

    def answer(body: bytes, context: object) -> bytes:
        message = pb.ModelInferRequest.FromString(body)
        request = messages.request_from_proto(message)
        response = InferResponse(request.model, request.version, request.inputs, request.parameters)
        return bytes(response_to_proto(response, message.id).SerializeToString())

    server = grpc.server(ThreadPoolExecutor(1))
    method: Any = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(messages.SERVICE, {"ModelInfer": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


ARRAYS: list[tuple[str, Any]] = [
    ("BOOL", np.array([[True, False]])),
    ("INT8", np.array([-1, 5], np.int8)),
    ("UINT64", np.array([2**64 - 1], np.uint64)),
    ("FP16", np.array([[0.5], [1.5]], np.float16)),
    ("FP32", np.arange(6, dtype=np.float32).reshape(1, 2, 3)),
    ("FP64", np.array(2.5)),
    ("INT32", np.zeros((2, 0), np.int32)),
    ("BYTES", np.array([["größer".encode(), b""], [b"\0\xff", b"x"]], np.object_)),
]


@pytest.mark.parametrize(("dtype", "sent"), ARRAYS, ids=[dtype for dtype, _ in ARRAYS])
def test_tritonclient_gets_back_what_it_sent(mirror: str, dtype: str, sent: Any) -> None:
    tensor = triton.InferInput("x", list(sent.shape), dtype)
    tensor.set_data_from_numpy(sent)
    with triton.InferenceServerClient(mirror) as client:
        result = client.infer(
            "m", [tensor], "7", request_id="an id", parameters={"flag": True, "count": 3, "word": "w"}
        )
    np.testing.assert_array_equal(result.as_numpy("x"), sent)
    answer = result.get_response()
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "7", "an id")
    parameters = {name: getattr(p, p.WhichOneof("parameter_choice")) for name, p in answer.parameters.items()}
    assert parameters == {"flag": True, "count": 3, "word": "w"}


@pytest.mark.parametrize("cuts", [1, 3])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sizes", [(), (0,), (12,), (70_000, 40_004), (12, 70_000), (2**21,)])
def test_a_request_written_in_parts_is_the_same_request(
    sizes: tuple[int, ...], aligned: bool, cuts: int
) -> None:
    for length in range(20):  # of the model's name, so that what lies in front has every length
        inputs = [Tensor(f"x{size}", "UINT8", (size,), bytes([size % 251]) * size) for size in sizes]
        request = InferRequest("m" * (length + 1), "1", tuple(inputs))
        members = '[[1,5,"id"]]'
        views = [memoryview(tensor.data) for tensor in inputs]
        cut = [
            [view[n * len(view) // cuts : (n + 1) * len(view) // cuts] for n in range(cuts)] for view in views
        ]
        parts = raw_fields.written(messages.request_head(request, members), cut, aligned)
        large = [row for row, view in zip(cut, views, strict=True) if len(view) >= raw_fields.LARGE_REQUEST]
        assert [part for part in parts if isinstance(part, memoryview)] == [
            one for row in large for one in row
        ]
        whole = b"".join(parts)
        message = pb.ModelInferRequest.FromString(whole)
        assert messages.request_from_proto(message) == request
        assert list(message.raw_input_contents) == views
        assert message.parameters["hub_members"].string_param
        for view in views:
            if aligned and len(view) >= raw_fields.LARGE_REQUEST:
                assert whole.index(view) % 8 == 0


def test_a_big_endian_machine_is_refused_with_assertions_switched_off_too() -> None:
    program = "import sys; sys.byteorder = 'big'; import inferencehub.core.oip.messages"
    done = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: raw tensors are little-endian" in done.stderr
