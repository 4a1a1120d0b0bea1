"""What a run asks: its models, and cases with the values that a model must answer. Read by the clients from a file."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# BF16 has no type in numpy: its values are held as FP32 whose lower half is zero, as clients of Triton hold them.
NUMPY: Mapping[str, type] = {
    "BOOL": np.bool_, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BF16": np.float32, "BYTES": np.object_,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A tensor of a case, with its values."""

    name: str
    datatype: str
    array: np.ndarray[Any, Any]

    @property
    def shape(self) -> list[int]:
        """Its shape."""
        return list(self.array.shape)


@dataclass(frozen=True)
class Case:
    """One request, and each answer that the model must give to it: one, or several from a decoupled model.

    Args:
        about: what it tries, the same in every run, such as `python FP32`.
        kind: `datatype`, `mixed` (all datatypes in one request), `rows` (of texts and numbers), `numbers` or
            `decoupled`.
        runtime: what runs the model.
        model, version: which model.
        inputs: the request.
        answers: the outputs of each answer.
        batched: whether the first dimension of every tensor counts rows.
    """

    about: str
    kind: str
    runtime: str
    model: str
    version: str
    inputs: Sequence[Tensor]
    answers: Sequence[Sequence[Tensor]]
    batched: bool = False

    @property
    def datatypes(self) -> set[str]:
        """Those of its inputs."""
        return {tensor.datatype for tensor in self.inputs}


@dataclass(frozen=True)
class Plan:
    """All cases of a run, and the name of a model that a client may unload."""

    cases: Sequence[Case]
    spare: str

    def of(self, kind: str) -> list[Case]:
        """The cases of a kind."""
        return [case for case in self.cases if case.kind == kind]

    @property
    def models(self) -> list[str]:
        """The names of the models that the cases ask."""
        return sorted({case.model for case in self.cases})


def write(plan: Plan, file: Path) -> None:
    """Write a plan as JSON."""
    cases = [
        {
            **vars(case),
            "inputs": [encoded(tensor) for tensor in case.inputs],
            "answers": [[encoded(tensor) for tensor in answer] for answer in case.answers],
        }
        for case in plan.cases
    ]
    file.write_text(json.dumps({"cases": cases, "spare": plan.spare}))


def read(file: Path, runtimes: Sequence[str]) -> Plan:
    """The plan in a file, with the cases of some runtimes."""
    found = json.loads(file.read_text())
    cases = [
        Case(
            **{
                **case,
                "inputs": [decoded(tensor) for tensor in case["inputs"]],
                "answers": [[decoded(tensor) for tensor in answer] for answer in case["answers"]],
            }
        )
        for case in found["cases"]
        if case["runtime"] in runtimes
    ]
    return Plan(cases, found["spare"])


def encoded(tensor: Tensor) -> dict[str, object]:
    """A tensor as JSON; its values are base64 of the elements' bytes, each text for itself."""
    flat = tensor.array.reshape(-1)
    data: object = base64.b64encode(flat.tobytes()).decode()
    if tensor.datatype == "BYTES":
        data = [base64.b64encode(item).decode() for item in flat]
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape, "data": data}


def decoded(tensor: Mapping[str, Any]) -> Tensor:
    """The tensor that `encoded` wrote."""
    kind, shape = tensor["datatype"], tensor["shape"]
    if kind == "BYTES":
        array: np.ndarray[Any, Any] = np.empty(len(tensor["data"]), dtype=np.object_)
        array[:] = [base64.b64decode(item) for item in tensor["data"]]
    else:
        array = np.frombuffer(base64.b64decode(tensor["data"]), NUMPY[kind])
    return Tensor(tensor["name"], kind, array.reshape(shape))


def difference(expected: Tensor, found: np.ndarray[Any, Any] | None) -> str:
    """What is wrong with the array that a client made of an output; "" where shape and values are right, bit by bit."""
    if found is None:
        return f"{expected.name} is missing"
    if list(found.shape) != expected.shape:
        return f"{expected.name} has shape {list(found.shape)}, expected {expected.shape}"
    if expected.datatype == "BYTES":
        items = [item.encode() if isinstance(item, str) else bytes(item) for item in found.reshape(-1)]
        same = items == list(expected.array.reshape(-1))
    else:
        read = found.astype(expected.array.dtype)
        same = np.array_equal(bits(read), bits(expected.array)) or alike(read, expected.array)
    return "" if same else f"{expected.name} has other values than numpy computes"


def bits(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array as bytes, so that -0.0 is not 0.0."""
    return np.frombuffer(array.tobytes(), np.uint8)


def alike(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays of floats differ at most in the bits of their NaNs."""
    if one.dtype.kind != "f":
        return False
    holes = np.isnan(one)
    return np.array_equal(holes, np.isnan(other)) and np.array_equal(bits(one[~holes]), bits(other[~holes]))
