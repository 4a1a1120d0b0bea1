"""Binary tensors over HTTP: what tritonclient sends and reads, and mistakes of callers."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.values.errors import HubError
from inferencehub.core.values.tensors import DTYPES, Tensor
from inferencehub.gateway.json_codec.request_json import decode_infer
from tests.gateway.raw import Answer, Raw, request
from tests.hub import Hub, running_hub, write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

ECHO = """
class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {"out_" + name: array for name, array in inputs.items()}
"""
ARRAYS: dict[str, Any] = {
    "BOOL": np.array([True, False, True]),
    "BYTES": np.array([b"", "é\0".encode(), b"\xff\xfe"], np.object_),
    "FP16": np.array([1.5, -0.0, np.nan], np.float16),
    "FP32": np.arange(6, dtype=np.float32) / 7,
    "FP64": np.array([5e-324, np.inf]),
    **{f"{kind}{bits}": np.array([0, np.iinfo(f"{kind.lower()}{bits}").max], f"{kind.lower()}{bits}")
       for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)},
}  # fmt: skip
SIZE = "inference-header-content-length"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    tensors = [
        f'{way} {{ name: "{prefix}{name}" data_type: TYPE_{name.replace("BYTES", "STRING")} dims: [-1] '
        f"{'optional: true' if way == 'input' else ''} }}"
        for name in ARRAYS
        for way, prefix in (("input", ""), ("output", "out_"))
    ]
    echo = 'backend: "python"\n' + "\n".join(tensors)
    write_model(models, "echo", echo.replace("optional: true", ""), {"1/model.py": ECHO})
    one = """backend: "python" input { name: "x" data_type: TYPE_FP32 dims: [-1] }
        output { name: "out_x" data_type: TYPE_FP32 dims: [-1] }"""
    write_model(models, "one", one, {"1/model.py": ECHO})
    async with running_hub(models) as hub:
        yield hub


def infer(port: int, model: str, arrays: dict[str, Any], **options: Any) -> Any:
    """What tritonclient makes of a call's answer; `binary` and `asks` say how inputs and outputs are carried."""
    binary, asks = options.pop("binary", True), options.pop("asks", None)
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        inputs = []
        for name, array in arrays.items():
            dtype = {"x": "FP32"}.get(name, name)
            inputs.append(triton.InferInput(name, list(array.shape), dtype))
            inputs[-1].set_data_from_numpy(array, binary_data=binary)
        outputs = asks and [triton.InferRequestedOutput(name, binary_data=raw) for name, raw in asks.items()]
        return client.infer(model, inputs, outputs=outputs, **options)


async def test_tritonclient_gets_every_datatype_back(hub: Hub) -> None:
    found = await asyncio.to_thread(infer, hub.gateway.port, "echo", ARRAYS, request_id="r1")
    assert found.get_response()["id"] == "r1"
    for name, array in ARRAYS.items():
        back = found.as_numpy(f"out_{name}")
        assert back.dtype == array.dtype
        assert back.tobytes() == array.tobytes() if name != "BYTES" else list(back) == list(array)


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
async def test_the_size_is_that_of_the_json_before_it_was_compressed(hub: Hub, compression: str) -> None:
    array = np.arange(1000, dtype=np.float32)
    found = await asyncio.to_thread(
        infer, hub.gateway.port, "one", {"x": array}, request_compression_algorithm=compression
    )
    assert found.as_numpy("out_x").tolist() == array.tolist()


@pytest.mark.parametrize("binary", [True, False])
async def test_each_output_is_carried_as_it_is_asked_for(hub: Hub, binary: bool) -> None:
    arrays = {**ARRAYS, "FP16": np.ones(2, np.float16), "BYTES": np.array(["a", "é"], np.object_)}
    asks = {"out_FP32": True, "out_INT8": False, "out_BYTES": True}
    if not binary:
        arrays["FP64"] = np.zeros(2)
        del arrays["FP16"]  # which tritonclient writes as no JSON
        arrays["FP16"] = ARRAYS["FP16"][:0]
    found = await asyncio.to_thread(infer, hub.gateway.port, "echo", arrays, binary=binary, asks=asks)
    outputs = {output["name"]: output for output in found.get_response()["outputs"]}
    assert list(outputs) == list(asks)
    assert outputs["out_FP32"]["parameters"] == {"binary_data_size": 24}
    assert "data" not in outputs["out_FP32"]
    assert outputs["out_INT8"]["data"] == [0, 127]
    assert found.as_numpy("out_FP32").tolist() == arrays["FP32"].tolist()
    assert list(found.as_numpy("out_BYTES")) == [b"a", "é".encode()]


@pytest.mark.parametrize("count", [0, 1, 150_528, 2_000_000])
async def test_sizes_from_none_to_megabytes(hub: Hub, count: int) -> None:
    array = np.random.default_rng(1).random(count).astype(np.float32)
    found = await asyncio.to_thread(infer, hub.gateway.port, "one", {"x": array})
    assert found.as_numpy("out_x").tobytes() == array.tobytes()


async def test_the_server_says_that_it_can(hub: Hub) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{hub.gateway.port}") as client:
        metadata = await asyncio.to_thread(client.get_server_metadata)
    assert "binary_tensor_data" in metadata["extensions"]


# --- what is wrong ---


def body(inputs: Sequence[dict[str, Any]], raw: bytes, **more: Any) -> tuple[bytes, int]:
    """A body of JSON and raw tensors, and the size of the JSON."""
    text = json.dumps({"inputs": inputs, **more}).encode()
    return text + raw, len(text)


def tensor(size: object, shape: Sequence[int] = (2,), datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    """An input whose bytes are behind the JSON."""
    parameters = {"binary_data_size": size}
    return {"name": "x", "shape": shape, "datatype": datatype, "parameters": parameters, **more}


async def ask(hub: Hub, data: bytes, size: object) -> Answer:
    """The answer to a body."""
    async with Raw(hub.gateway.port) as raw:
        await raw.send(request("POST", "/v2/models/one/infer", data, f"{SIZE}: {size}"))
        return await raw.read()


@pytest.mark.parametrize(
    ("inputs", "raw", "says"),
    [
        ([tensor(8)], b"1234", "input 'x': binary_data_size is 8, but 4 bytes are left"),
        ([tensor(2**70)], b"1234", "but 4 bytes are left"),
        ([tensor(8)], b"12345678more", "4 bytes are left in the body behind its last binary input"),
        ([tensor(4)], b"1234", "shape [2] of FP32 needs 8 bytes, got 4"),
        ([tensor(-8)], b"", "binary_data_size is -8, expected a whole number"),
        ([tensor(True)], b"1", "binary_data_size is True, expected a whole number"),
        ([tensor(8.0)], b"12345678", "binary_data_size is 8.0, expected a whole number"),
        ([tensor("8")], b"12345678", "binary_data_size is '8', expected a whole number"),
        ([tensor(8, data=[1, 2])], b"12345678", "either data or the parameter binary_data_size, got both"),
        ([{"name": "x", "shape": [1], "datatype": "FP32"}], b"", "got neither"),
        ([tensor(8, [2], "FP31")], b"12345678", "FP31"),
        ([tensor(8, [-2])], b"12345678", "dimension -2"),
        ([tensor(8, [1], "BYTES")], struct.pack("<I", 5) + b"1234", "not exactly 1 BYTES elements"),
        ([{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}], b"1234", "4 bytes are left in the body"),
    ],
)  # fmt: skip
async def test_sizes_that_do_not_fit(hub: Hub, inputs: list[dict[str, Any]], raw: bytes, says: str) -> None:
    answer = await ask(hub, *body(inputs, raw))
    assert answer.status == 400
    assert says in answer.json["error"]


@pytest.mark.parametrize("size", ["", "-1", "1.5", "x", "9" * 30, "²"])
async def test_a_header_that_is_no_size(hub: Hub, size: str) -> None:
    answer = await ask(hub, *body([tensor(8)], b"12345678")[:1], size.encode().decode("latin-1"))
    assert answer.status == 400
    assert "Inference-Header-Content-Length: expected the size of the JSON" in answer.json["error"]


@pytest.mark.parametrize(
    ("off", "says"),
    [(1, "no JSON"), (-1, "no JSON"), (9, "expected at most the body's"), (-10_000, "no JSON")],
)
async def test_a_header_that_is_another_size(hub: Hub, off: int, says: str) -> None:
    data, size = body([tensor(8)], b"12345678")
    answer = await ask(hub, data, max(1, size + off))
    assert answer.status == 400
    assert says in answer.json["error"]


@pytest.mark.parametrize("more", [{"parameters": {"binary_data_output": 1}},
                                  {"outputs": [{"name": "out_x", "parameters": {"binary_data": "yes"}}]}])  # fmt: skip
async def test_wishes_that_are_neither_true_nor_false(hub: Hub, more: dict[str, Any]) -> None:
    answer = await ask(hub, *body([tensor(8)], b"12345678", **more))
    assert answer.status == 400
    assert "expected true or false" in answer.json["error"]


@given(st.lists(st.tuples(st.sampled_from(sorted(DTYPES)), st.binary(max_size=40)), max_size=4), st.data())
async def test_whatever_is_behind_the_json_is_read_or_refused(
    parts: list[tuple[str, bytes]], data: Any
) -> None:
    inputs = [
        {"name": str(index), "datatype": dtype, "shape": data.draw(st.lists(st.integers(-1, 9), max_size=2)),
         "parameters": {"binary_data_size": data.draw(st.sampled_from([len(raw), len(raw), -1, 10**9]))}}
        for index, (dtype, raw) in enumerate(parts)
    ]  # fmt: skip
    whole, size = body(inputs, b"".join([raw for _, raw in parts]))
    try:
        read, _ = decode_infer(whole, "m", "", size)
    except HubError:
        return
    expected = [Tensor(str(i), d, tuple(inputs[i]["shape"]), raw) for i, (d, raw) in enumerate(parts)]
    assert list(read.inputs) == expected
