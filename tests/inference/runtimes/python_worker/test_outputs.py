"""The outputs of Python models: what is taken, and what is refused with a sentence that names the output."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import TensorSpec
from inferencehub.core.values.tensors import Tensor, pack_bytes
from inferencehub.inference.runtimes.python.runtime import Python
from inferencehub.inference.runtimes.python_worker.outputs import WrongOutputError, checked
from inferencehub.inference.runtimes.support.arrays import from_array
from tests.inference.runtimes.one_answer import run_once
from tests.inference.runtimes.python.acting_model import CONFIG, asked, loaded, refusal, source

LONG_TEXTS = ["a", "b" * 40, "\u017c\0", ""]


def packed_texts(texts: list[str]) -> bytes:
    """Texts as the elements of a BYTES tensor."""
    return pack_bytes([text.encode() for text in texts])


async def raw(runtime: Python, do: str) -> bytes:
    """The bytes of an answer."""
    (output,) = await run_once(runtime, 0, asked(do), monotonic() + 20)
    return bytes(output.data)


@pytest.mark.parametrize(
    ("declared", "cases"),
    [
        (
            "TYPE_FP32",
            {
                "[0.1, 1e-300, np.inf, -np.inf, np.nan, -0.0]": np.array(
                    [0.1, 0, np.inf, -np.inf, np.nan, -0.0], "<f4"
                ),
                "[2**40, 3]": np.array([2**40, 3], "<f4"),
                "[True]": np.array([1], "<f4"),
                "np.ma.array([1.5, 2.5])": np.array([1.5, 2.5], "<f4"),
                "[np.ma.array([1.5, 2.5])[0], 3]": np.array([1.5, 3], "<f4"),
                "GivesArray(np.array([1.5, 2]))": np.array([1.5, 2], "<f4"),
            },
        ),
        ("TYPE_FP16", {"[65504, 65519.0, np.inf]": np.array([65504, 65504, np.inf], "<f2")}),
        ("TYPE_FP64", {"[2**53 + 2, -2**63]": np.array([2**53 + 2, -(2**63)], "<f8")}),
        (
            "TYPE_BF16",
            {
                "[1.5, np.inf, np.nan, 256]": np.array([0x3FC0, 0x7F80, 0x7FC0, 0x4380], "<u2"),
                "np.array([0xFFFFFFFF, 0x7F800001], 'u4').view('f4')": np.array([0xFFFF, 0x7FC0], "<u2"),
            },
        ),
        (
            "TYPE_INT32",
            {
                "np.array([2**31 - 1, -2**31], '>i8')": np.array([2**31 - 1, -(2**31)], "<i4"),
                "[]": np.array([], "<i4"),
            },
        ),
        (
            "TYPE_UINT64",
            {
                "[2**64 - 1]": np.array([2**64 - 1], "<u8"),
                "[2**64 - 1, 1]": np.array([2**64 - 1, 1], "<u8"),
                "[1, 2**63]": np.array([1, 2**63], "<u8"),
            },
        ),
        (
            "TYPE_INT64",
            {
                "[np.int64(2**53 + 1), np.uint64(1)]": np.array([2**53 + 1, 1], "<i8"),
            },
        ),
        (
            "TYPE_STRING",
            {
                f"np.array({LONG_TEXTS}, TEXT())": packed_texts(LONG_TEXTS),
                f"{LONG_TEXTS}": packed_texts(LONG_TEXTS),
                f"np.array({LONG_TEXTS}, object)": packed_texts(LONG_TEXTS),
            },
        ),
        (
            "TYPE_BOOL",
            {"[0, 1]": np.array([0, 1], "u1"), "np.array([0, 7], 'u1').view(bool)": np.array([0, 1], "u1")},
        ),
    ],
)
async def test_what_the_declared_type_holds_arrives(
    tmp_path: Path, declared: str, cases: dict[str, np.ndarray | bytes]
) -> None:
    async with loaded(source(tmp_path, config=CONFIG % declared)) as runtime:
        for value, expected in cases.items():
            assert await raw(runtime, f"gives {value}") == bytes(expected), value


@pytest.mark.parametrize(
    ("declared", "cases"),
    [
        (
            "TYPE_FP32",
            {
                "np.zeros((2, 2))": "output 'y' of shape [2, 2], expected [-1]",
                "1.5": "output 'y' of shape [], expected [-1]",
                "['a']": "output 'y' of <U1, expected FP32",
                "[None]": "output 'y' of object, expected FP32",
                "[1j]": "output 'y' of complex128, expected FP32",
                "[[1], [1, 2]]": "output 'y' that is no array, such as rows of different lengths",
                **dict.fromkeys(
                    [
                        "np.ma.array([1, 2], mask=[0, 1])",
                        "np.ma.masked",
                        "[1.0, np.ma.masked]",
                        "([1.0, 2.0], [1.0, np.ma.masked])",
                        "[np.ma.array([1, 2], mask=[0, 1]), [3, 4]]",
                        "[[1], [np.ma.array(7, mask=True)]]",
                        "collections.deque([np.ma.masked])",
                        "GivesArray(np.ma.array([1, 2], mask=[0, 1]))",
                        "[GivesArray(np.ma.array([1, 2], mask=[0, 1]))]",
                    ],
                    "output 'y' with masked values, expected all values",
                ),
                "[1.0, None]": "output 'y' of object, expected FP32",
                "[decimal.Decimal(1)]": "output 'y' of object, expected FP32",
                "{1.0}": "output 'y' of shape [], expected [-1]",
                "np.array(['2026-01-01'], 'M8[D]')": "output 'y' of datetime64[D], expected FP32",
                "[np.zeros((2, 2)), np.zeros((2, 3))]": "output 'y' that is no array, such as rows of different lengths",
                "GivesArray(None)": "output 'y' that cannot be read as an array: it needs a gradient",
                "[np.uint64(2**63 + 1), np.int64(1)]": f"output 'y' with the value {2**63 + 1}, which FP32 cannot hold",
                "np.array([1, 2], object)": "output 'y' of object, expected FP32",
                "[1.5, 1e300]": "output 'y' with the value 1e+300, which FP32 cannot hold",
                "[-1e39]": "output 'y' with the value -1e+39, which FP32 cannot hold",
                "[np.inf, np.nan, 1e39]": "output 'y' with the value 1e+39, which FP32 cannot hold",
                "[16777217]": "output 'y' with the value 16777217, which FP32 cannot hold",
                "np.array([2**64 - 1], np.uint64)": f"output 'y' with the value {2**64 - 1}, which FP32 cannot hold",
            },
        ),
        (
            "TYPE_INT8",
            {
                "[1.0]": "output 'y' of float64, expected INT8",
                "[1.5]": "output 'y' of float64, expected INT8",
                "[np.nan]": "output 'y' of float64, expected INT8",
                "[1, -129]": "output 'y' with the value -129, which INT8 cannot hold",
                "np.array([200], np.uint8)": "output 'y' with the value 200, which INT8 cannot hold",
            },
        ),
        (
            "TYPE_STRING",
            {
                "[1]": "output 'y' with a int in it, expected BYTES",
                "np.array([1])": "output 'y' of int64, expected BYTES",
                "[np.ma.masked]": "output 'y' with masked values, expected all values",
                "np.ma.array(['a', 'b'], mask=[0, 1])": "output 'y' with masked values, expected all values",
                "np.array(['a', None], TEXT(na_object=None))": "output 'y' with a NoneType in it, expected BYTES",
                "['\\ud800']": "output 'y' with text that UTF-8 cannot write, expected bytes",
            },
        ),
        (
            "TYPE_FP16",
            {
                "[70000]": "output 'y' with the value 70000, which FP16 cannot hold",
                "[70000.0]": "output 'y' with the value 70000.0, which FP16 cannot hold",
                "np.array([65520], np.float32)": "output 'y' with the value 65520.0, which FP16 cannot hold",
                "[2049]": "output 'y' with the value 2049, which FP16 cannot hold",
            },
        ),
        (
            "TYPE_BF16",
            {
                "[3.4e38]": "output 'y' with the value 3.4e+38, which BF16 cannot hold",
                "np.array([-3.4e38], np.float32)": "output 'y' with the value -3.3999999521443642e+38, which BF16 "
                "cannot hold",
                "[1e300]": "output 'y' with the value 1e+300, which BF16 cannot hold",
                "[257]": "output 'y' with the value 257, which BF16 cannot hold",
            },
        ),
        (
            "TYPE_FP64",
            {
                "[2**64 - 1, 1]": f"output 'y' with the value {2**64 - 1}, which FP64 cannot hold",
                "[2**63 + 1, -1]": f"output 'y' with {2**63 + 1} beside other numbers, expected an array of integers",
                "[np.int64(2**53 + 1), 0.5]": f"output 'y' with {2**53 + 1} beside other numbers, expected an array of "
                "integers",
                "[2**53 + 1, 0.5]": f"output 'y' with {2**53 + 1} beside other numbers, expected an array of integers",
            },
        ),
        ("TYPE_UINT64", {"[-1]": "output 'y' with the value -1, which UINT64 cannot hold"}),
        ("TYPE_INT32", {"[2**31]": "output 'y' with the value 2147483648, which INT32 cannot hold"}),
        (
            "TYPE_INT64",
            {
                "[2**63]": "output 'y' with the value 9223372036854775808, which INT64 cannot hold",
                "[2**70]": "output 'y' of object, expected INT64",
            },
        ),
        (
            "TYPE_BOOL",
            {
                "[2]": "output 'y' with the value 2, which BOOL cannot hold",
                "[-1]": "output 'y' with the value -1, which BOOL cannot hold",
                "[1.0]": "output 'y' of float64, expected BOOL",
            },
        ),
    ],
)
async def test_wrong_outputs_are_named(tmp_path: Path, declared: str, cases: dict[str, str]) -> None:
    async with loaded(source(tmp_path, config=CONFIG % declared)) as runtime:
        for value, expected in cases.items():
            error = await refusal(runtime, f"gives {value}")
            assert (error.kind, error.detail) == (Kind.MODEL_FAILED, f"model 'm' gave {expected}")
        assert runtime.recovery(0) is None


async def test_a_bfloat16_array_as_jax_gives_it_arrives(tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes")
    async with loaded(source(tmp_path, config=CONFIG % "TYPE_BF16")) as runtime:
        given = "__import__('ml_dtypes') and np.array([1.5, 3e38], 'bfloat16')"
        assert await raw(runtime, f"gives {given}") == np.array([0x3FC0, 0x7F62], "<u2").tobytes()


SHAPES = """
import numpy as np
class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs):
        shape = tuple(int(size) for size in inputs["shape"].ravel()[0].decode().split())
        return {"y": np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)}
"""


@pytest.mark.parametrize(
    ("rows", "dims", "given", "taken"),
    [
        (3, [1], "3", [3, 1]),
        (1, [1], "1", [1, 1]),
        (1, [4], "4", [1, 4]),
        (1, [-1], "1", [1, 1]),
        (1, [-1], "4", [1, 4]),
        (1, [-1, -1], "2 3", [1, 2, 3]),
        (2, [3, 1], "2 3", [2, 3, 1]),
        (0, [3, 1], "3", [3, 1]),
        (0, [1, 3], "3", [1, 3]),
        (0, [1], "", [1]),
        (1, [1], "", [1, 1]),
        (0, [1], "1 1", [1]),
        (0, [1, 1], "", [1, 1]),
        (3, [1], "2", None),
        (2, [4], "4", None),
        (2, [-1], "2", None),
        (2, [2], "4", None),
        (3, [1], "1 3", None),
        (0, [-1], "", None),
        (0, [-1, -1], "3", None),
        (0, [3], "3 1", None),
    ],
)
async def test_a_first_or_last_dimension_of_one_may_be_missing(
    tmp_path: Path, rows: int, dims: list[int], given: str, taken: list[int] | None
) -> None:
    config = f"""
        backend: "python" max_batch_size: {8 if rows else 0}
        input {{ name: "shape" data_type: TYPE_STRING dims: 1 }}
        output {{ name: "y" data_type: TYPE_FP32 dims: {dims} }}
    """
    shape = Tensor("shape", "BYTES", (rows, 1) if rows else (1,), pack_bytes([given.encode()] * (rows or 1)))
    request = InferRequest("m", "1", (shape,))
    async with loaded(source(tmp_path, SHAPES, config)) as runtime:
        if taken is None:
            with pytest.raises(HubError) as caught:
                await run_once(runtime, 0, request, monotonic() + 20)
            expected = [*([rows] if rows else []), *dims]
            came = [int(size) for size in given.split()]
            assert caught.value.detail == f"model 'm' gave output 'y' of shape {came}, expected {expected}"
        else:
            (output,) = await run_once(runtime, 0, request, monotonic() + 20)
            assert list(output.shape) == taken
            values = np.arange(np.prod(taken, dtype=int), dtype=np.float32)
            assert bytes(output.data) == values.tobytes()


async def test_wrong_names_and_rows_are_named(tmp_path: Path) -> None:
    config = """
        backend: "python" max_batch_size: 4
        input [ { name: "x" data_type: TYPE_INT64 dims: [ 1 ] } ]
        output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
    """
    code = """
import numpy as np
class Model:
    def __init__(self, directory, parameters): pass
    def predict(self, inputs):
        return ({"z": 1}, [1], {"y": np.zeros((1, 3))}, {"y": np.zeros((2, 2))})[int(inputs["x"][0, 0])]
"""
    expected = [
        "no output 'y', only ['z']",
        "a list, expected a dict of outputs",
        "output 'y' of shape [1, 3], expected [2, 3]",
        "output 'y' of shape [2, 2], expected [2, 3]",
    ]
    async with loaded(source(tmp_path, code, config)) as runtime:
        for number, text in enumerate(expected):
            x = from_array("x", "INT64", np.array([[number], [0]]))
            with pytest.raises(HubError) as caught:
                await run_once(runtime, 0, InferRequest("m", "1", (x,)), monotonic() + 20)
            assert caught.value.detail == f"model 'm' gave {text}"


def test_an_output_that_is_declared_without_a_shape_may_have_any() -> None:
    spec = TensorSpec("y", "FP32", (), any_shape=True)
    for shape in ((), (2,), (2, 1, 3)):
        (tensor,) = checked({"y": np.zeros(shape, np.float32)}, [spec], rows=0)
        assert tensor.shape == shape
    (tensor,) = checked({"y": np.zeros((2, 1, 3), np.float32)}, [spec], rows=2)
    assert tensor.shape == (2, 1, 3)
    with pytest.raises(WrongOutputError, match=r"output 'y' of shape \[2, 3\], expected \[4, -1\]"):
        checked({"y": np.zeros((2, 3), np.float32)}, [spec], rows=4)
