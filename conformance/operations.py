"""What the models of a run compute, row by row: as numpy does it, as code of a Python model, and as a node of ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from conformance.clients.plan import NUMPY
from tests import onnx_files

Array = np.ndarray[Any, Any]
# The types of ONNX; onnxruntime takes no BF16 from Python.
ONNX = {
    "FP32": 1, "UINT8": 2, "INT8": 3, "UINT16": 4, "INT16": 5, "INT32": 6, "INT64": 7, "BYTES": 8, "BOOL": 9,
    "FP16": 10, "FP64": 11, "UINT32": 12, "UINT64": 13,
}  # fmt: skip
# Those that its Mul takes on a CPU.
MUL = {"FP32", "FP64", "INT32", "INT64"}


@dataclass(frozen=True)
class Operation:
    """What becomes of one input: `name` is same, reversed, not, prefixed or scaled; `by` is the prefix or the factor."""

    name: str
    datatype: str
    by: str | int = 0

    def apply(self, array: Array) -> Array:
        """The output for an input."""
        if self.name == "reversed":
            return np.flip(array, -1)
        if self.name == "not":
            return np.logical_not(array)
        if self.name == "prefixed":
            prefix = str(self.by).encode()
            return np.array([prefix + item for item in array.reshape(-1)], np.object_).reshape(array.shape)
        if self.name == "scaled":
            with np.errstate(over="ignore", invalid="ignore"):
                scaled: Array = np.multiply(array, NUMPY[self.datatype](self.by), dtype=NUMPY[self.datatype])
            return scaled
        return array

    def source(self) -> str:
        """The same as a function of Python, over an array; None passes a tensor on as it is."""
        kind = NUMPY[self.datatype].__name__
        return (
            "None"
            if self.datatype == "BF16"
            else "lambda x: "
            + {
                "same": "x",
                "reversed": "x[..., ::-1]",
                "not": "np.logical_not(x)",
                "prefixed": f"np.array([{str(self.by).encode()!r} + t for t in x.reshape(-1)], object).reshape(x.shape)",
                "scaled": f"np.multiply(x, np.{kind}({self.by}), dtype=np.{kind})",
            }[self.name]
        )

    def node(self, source: str, output: str) -> tuple[bytes, list[bytes]]:
        """The same as a node of ONNX, with its initializers; `reversed` is not one of them."""
        if self.name == "scaled":
            factor = onnx_files.tensor(f"{output}.by", ONNX[self.datatype], [], [int(self.by)])
            return onnx_files.node("Mul", [source, f"{output}.by"], [output]), [factor]
        return onnx_files.node("Not" if self.name == "not" else "Identity", [source], [output]), []


def drawn(random: Random, datatype: str, runtime: str) -> Operation:
    """An operation at random, of those that a runtime has for a datatype."""
    names = ["same"]
    if datatype == "BOOL":
        names += ["not"]
    if datatype in MUL or (runtime == "python" and datatype not in ("BOOL", "BYTES", "BF16")):
        names += ["scaled", "scaled"]
    # A model of Triton's Python backend sees no array of BF16: it can pass the tensor on, and no more.
    if runtime == "python" and datatype != "BF16":
        names += ["reversed"]
    if runtime == "python" and datatype == "BYTES":
        names += ["prefixed"]
    name = random.choice(names)
    return Operation(name, datatype, word(random) if name == "prefixed" else random.randint(2, 99))


def word(random: Random) -> str:
    """A name of letters, digits, dots, dashes and underscores."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return random.choice(letters) + "".join(
        random.choices(letters + "0123456789_.-", k=random.randint(2, 14))
    )


def values(random: Random, datatype: str, shape: list[int]) -> Array:
    """Values at random: whole numbers over the whole range, fractions over many magnitudes, texts of some alphabets."""
    count = int(np.prod(shape))
    if datatype == "BYTES":
        texts = [text(random).encode() for _ in range(count)]
        array = np.empty(count, np.object_)
        array[:] = texts
        return array.reshape(shape)
    kind = np.dtype(NUMPY[datatype])
    if datatype == "BOOL":
        return np.array([random.random() < 0.5 for _ in range(count)], kind).reshape(shape)
    if kind.kind in "iu":
        return np.frombuffer(random.randbytes(count * kind.itemsize), kind).reshape(shape)
    powers = 10 if kind.itemsize == 2 else 30
    floats = np.array(
        [random.uniform(-1, 1) * 2.0 ** random.randint(-powers, powers) for _ in range(count)], kind
    )
    return upper_half(floats).reshape(shape) if datatype == "BF16" else floats.reshape(shape)


def upper_half(array: Array) -> Array:
    """FP32 values whose lower half is zero: those that BF16 holds."""
    return (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def text(random: Random) -> str:
    """A text, which may be empty."""
    return "".join(random.choices('abcXYZ019 "\\/\t\näßñ日本語🙂', k=random.randint(0, 12)))


def extremes(datatype: str) -> Array:
    """The values at the ends of a datatype, and those that are easily lost."""
    if datatype == "BYTES":
        array = np.empty(5, np.object_)
        array[:] = [b"", b"\0", b"a\0b\0", b"\xff\xfe", bytes(range(256)) * 256]
        return array
    kind = np.dtype(NUMPY[datatype])
    if datatype == "BOOL":
        return np.array([True, False])
    if kind.kind in "iu":
        ends = np.iinfo(kind.name)
        return np.array([ends.min, ends.max, 0, 1], kind)
    found = [np.inf, -np.inf, np.nan, -0.0, np.finfo(kind).max, np.finfo(kind).tiny]
    array = np.array(found, kind)
    return upper_half(array) if datatype == "BF16" else array
