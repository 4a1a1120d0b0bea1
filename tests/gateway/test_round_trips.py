"""What goes in comes out: any tensor, over every front of both tiers and in every encoding, through models that return it.

A model of onnxruntime for each datatype takes any shape. One of Python batches, so that what is sent over several fronts
at a time may be merged; it also has BF16, and bytes that are no text. Bits are compared; where an encoding carries only that
a number is NaN, so is that one's. `LONG_RUNS=1` tries more tensors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import groupby

import grpc
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencehub.core.values.tensors import DTYPES, Tensor, pack_bytes
from tests import onnx_files as onnx
from tests.any_tensors import ends, raw, same_numbers, tensors
from tests.gateway.fronts import SIZE, Way, in_json_at_all, output_of, post, same_bits, ways
from tests.hub import Hub, running_hub, write_model
from tests.long_runs import examples

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONNX = {"BOOL": 9, "UINT8": 2, "UINT16": 4, "UINT32": 12, "UINT64": 13, "INT8": 3, "INT16": 5, "INT32": 6, "INT64": 7,
        "FP16": 10, "FP32": 1, "FP64": 11, "BYTES": 8}  # fmt: skip
DIMS = (1, 4)  # of the Python model's inputs, without the batch
KINDS = {"BOOL": "?", "BF16": "<f4", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BYTES": "O"} | {
    f"{sign}INT{8 * size}": f"<{letter}{size}"
    for sign, letter in (("", "i"), ("U", "u"))
    for size in (1, 2, 4, 8)
}
ECHO = f"""
import numpy as np

OUTPUTS = {{f"{{dtype}}_{{dims}}": (kind, dims) for dtype, kind in {KINDS}.items() for dims in {DIMS}}}

class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        ((name, given),) = inputs.items()
        empty = {{other: np.zeros((len(given), *[0] * dims), kind) for other, (kind, dims) in OUTPUTS.items()}}
        return {{f"out_{{other}}": array for other, array in (empty | {{name: given}}).items()}}
"""
MIB = 2**20


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    """The models: `any_FP32` and its like, `row_FP32` and its like for raw bodies, and `echo`."""
    models = tmp_path_factory.mktemp("models")
    for dtype, number in ONNX.items():
        for name, shape in (("any", None), ("row", ["n"])):
            kind = onnx.tensor_type(number, shape)
            content = onnx.one_node("Identity", {"x": kind}, kind)
            write_model(models, f"{name}_{dtype}", "instance_group { count: 4 }", {"1/model.onnx": content})
    config = 'backend: "python" max_batch_size: 8'
    for dtype in DTYPES:
        for dims in DIMS:
            spec = f'name: "%s{dtype}_{dims}" data_type: TYPE_{dtype.replace("BYTES", "STRING")} dims: {[-1] * dims}'
            config += f"\ninput {{ {spec % ''} optional: true }} output {{ {spec % 'out_'} }}"
    write_model(models, "echo", config, {"1/model.py": ECHO})
    async with running_hub(models, max_body_bytes=64 * MIB) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def all_ways(hub: Hub) -> AsyncIterator[dict[str, Way]]:
    most = (("grpc.max_receive_message_length", -1),)
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.gateway.grpc.port}", most) as gateway,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.pods[0].port}", most) as pod,
    ):
        yield ways(hub, gateway, pod)


async def check(all_ways: dict[str, Way], model: str, tensor: Tensor, output: str, exact: bool = True) -> int:
    """Send a tensor over all ways that can carry it, and compare what comes; how many they are.

    What goes to one tier goes at the same time.
    """
    taken = {name: way for name, way in all_ways.items() if way.takes(tensor)}
    came: list[Tensor] = []
    for _, some in groupby(taken.items(), lambda item: item[0].startswith("pod")):
        came += await asyncio.gather(*[way.send(model, tensor, output) for _, way in some])
    for (name, way), back in zip(taken.items(), came, strict=True):
        assert (back.name, back.dtype, back.shape) == (output, tensor.dtype, tensor.shape), name
        assert same_numbers(tensor.dtype, back.data, tensor.data), (name, tensor.data[:99], back.data[:99])
        if exact and way.exact:
            assert same_bits(back.data, tensor.data), (name, tensor.data[:99], back.data[:99])
    return len(taken)


def keeps_bits(dtype: str) -> bool:
    """Whether a Python model gets the very bits; numpy has no BF16, whose NaN become quiet."""
    return dtype != "BF16"


@settings(**examples(4000, 100))
@given(tensors(dtypes=sorted(ONNX), text=True))
async def test_any_tensor_of_any_shape(all_ways: dict[str, Way], tensor: Tensor) -> None:
    assert await check(all_ways, f"any_{tensor.dtype}", tensor, "y") >= 6


SIZES = st.integers(0, 2)
ROWS = st.tuples(st.integers(1, 2), SIZES) | st.tuples(st.integers(1, 2), SIZES, SIZES, SIZES, SIZES)


@settings(**examples(4000, 100))
@given(tensors(shapes=ROWS.map(list)))
async def test_any_rows_of_a_batch(all_ways: dict[str, Way], tensor: Tensor) -> None:
    name = f"{tensor.dtype}_{len(tensor.shape) - 1}"
    named = Tensor(name, tensor.dtype, tensor.shape, tensor.data)
    assert await check(all_ways, "echo", named, f"out_{name}", keeps_bits(tensor.dtype)) >= 5


@pytest.mark.parametrize("dtype", sorted(DTYPES))
async def test_the_ends_of_each_datatype(all_ways: dict[str, Way], dtype: str) -> None:
    elements = ends(dtype)
    data = raw(dtype, elements)
    tensor = Tensor(f"{dtype}_1", dtype, (1, len(elements)), data)
    assert await check(all_ways, "echo", tensor, f"out_{dtype}_1", keeps_bits(dtype)) >= 5
    if dtype in ONNX and dtype != "BYTES":
        for shape in ((len(elements),), (1, len(elements), 1, 1, 1)):
            assert await check(all_ways, f"any_{dtype}", Tensor("x", dtype, shape, data), "y") >= 6
        assert await check(all_ways, f"any_{dtype}", Tensor("x", dtype, (), elements[-1]), "y") >= 6


@pytest.mark.parametrize("dtype", ["FP64", "BYTES"])
async def test_large_dimensions_of_nothing(hub: Hub, all_ways: dict[str, Way], dtype: str) -> None:
    """numpy has no array whose other dimensions do not fit 64 bits; a model must not meet such a shape."""
    name = f"{dtype}_4"
    await check(all_ways, "echo", Tensor(name, dtype, (1, 0, 2**20, 2**20, 1), b""), f"out_{name}")
    await check(all_ways, f"any_{dtype}", Tensor("x", dtype, (2**40, 0), b""), "y")
    for model, shape, put in (
        ("echo", [1, 0, 2**30, 2**30, 1], name),
        (f"any_{dtype}", [0, 2**40, 2], "x"),
    ):
        body = {"inputs": [{"name": put, "datatype": dtype, "shape": shape, "data": []}]}
        status, answer, _ = await hub.post(f"/v2/models/{model}/infer", body)
        assert (status, f"shape {shape} is too large" in answer["error"]) == (400, True)


@pytest.mark.parametrize("model", ["any_BYTES", "echo"])
@pytest.mark.parametrize("text", ["x" * MIB, "\0" * MIB, "é😀" * (MIB // 6)], ids=["ascii", "nul", "unicode"])
async def test_strings_of_a_megabyte(all_ways: dict[str, Way], model: str, text: str) -> None:
    name = "x" if model == "any_BYTES" else "BYTES_1"
    shape = (1, 3) if model == "echo" else (3,)
    tensor = Tensor(name, "BYTES", shape, pack_bytes([b"", text.encode(), b"end"]))
    assert in_json_at_all(tensor)
    assert await check(all_ways, model, tensor, "y" if name == "x" else "out_BYTES_1") == len(all_ways)


@pytest.mark.parametrize("dtype", sorted(ONNX))
async def test_a_raw_body_is_the_tensor(hub: Hub, dtype: str) -> None:
    elements = ends(dtype)[:1] if dtype == "BYTES" else ends(dtype)
    for some in (elements, elements[:1], [] if dtype != "BYTES" else [b"a\0b"]):
        back = output_of(*await post(hub, f"row_{dtype}", b"".join(some), {SIZE: "0"}))
        assert (back.dtype, back.shape, back.data) == (dtype, (len(some),), raw(dtype, some))
