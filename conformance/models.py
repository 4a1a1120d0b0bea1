"""The model repository of a run, drawn from its seed: names, datatypes, shapes, operations and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from random import Random

import numpy as np

from conformance.clients.plan import NUMPY, Case, Plan, Tensor
from conformance.operations import ONNX, Array, Operation, drawn, extremes, values, word
from tests import onnx_files

DATATYPES = tuple(NUMPY)
# Both ways to write a Python model stand in one file: our class, and the one of Triton's Python backend.
SOURCE = '''"""Made by a run of the conformance tests."""

import numpy as np

OPERATIONS = {{{operations}}}


class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        return {{
            output: compute(inputs[name]) if compute else inputs[name]
            for name, (output, compute) in OPERATIONS.items()
        }}


class TritonPythonModel:
    def execute(self, requests):
        import triton_python_backend_utils as triton

        def of(tensor):
            output, compute = OPERATIONS[tensor.name()]
            if compute is None:  # BF16 has no array
                return triton.Tensor.from_dlpack(output, tensor.to_dlpack())
            return triton.Tensor(output, np.ascontiguousarray(compute(tensor.as_numpy())))

        return [triton.InferenceResponse([of(tensor) for tensor in request.inputs()]) for request in requests]
'''
DECOUPLED = '''"""Made by a run of the conformance tests."""

import numpy as np


def answers(count, x):
    for number in range(count):
        yield x * np.int64(number + {by})


class Model:
    def __init__(self, directory, parameters):
        pass

    def predict(self, inputs):
        for answer in answers(int(inputs["{count}"][0]), inputs["{source}"]):
            yield {{"{output}": answer}}


class TritonPythonModel:
    def execute(self, requests):
        import triton_python_backend_utils as triton

        for request in requests:
            sender = request.get_response_sender()
            given = {{tensor.name(): tensor.as_numpy() for tensor in request.inputs()}}
            for answer in answers(int(given["{count}"][0]), given["{source}"]):
                sender.send(triton.InferenceResponse([triton.Tensor("{output}", answer)]))
            sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
'''


@dataclass(frozen=True)
class Port:
    """An input with the output that is computed from it; `shape` is one row's, `dims` what the config declares."""

    source: str
    output: str
    operation: Operation
    shape: Sequence[int]
    dims: Sequence[int]


@dataclass(frozen=True)
class Drawn:
    """A model of the run."""

    name: str
    version: str
    runtime: str
    rows: int
    ports: Sequence[Port]

    def case(self, random: Random, about: str, kind: str) -> Case:
        """A request with values at random, and its answer."""
        batch = [random.randint(1, min(self.rows, 8))] if self.rows else []
        return self.asked(
            about, kind, [values(random, p.operation.datatype, [*batch, *p.shape]) for p in self.ports]
        )

    def asked(self, about: str, kind: str, arrays: Sequence[Array]) -> Case:
        """A request with these values, and its answer."""
        inputs, outputs = [], []
        for port, array in zip(self.ports, arrays, strict=True):
            inputs.append(Tensor(port.source, port.operation.datatype, array))
            outputs.append(Tensor(port.output, port.operation.datatype, port.operation.apply(array)))
        return Case(about, kind, self.runtime, self.name, self.version, inputs, [outputs], bool(self.rows))


@dataclass
class Drawing:
    """Draws models, each name once."""

    random: Random
    used: set[str] = field(default_factory=set)

    def name(self) -> str:
        """A name that no other model or tensor has."""
        while (found := word(self.random)).lower() in self.used:
            pass
        self.used.add(found.lower())
        return found

    def port(self, datatype: str, runtime: str) -> Port:
        """An input of a random shape, with enough elements for one of them to show what is lost on the way."""
        shape = [0]
        while not 24 <= prod(shape) <= 240:
            shape = [self.random.randint(1, 30) for _ in range(self.random.randint(1, 4))]
        dims = [self.random.choice((size, -1)) for size in shape]
        return Port(self.name(), self.name(), drawn(self.random, datatype, runtime), shape, dims)

    def model(self, datatype: str, runtime: str) -> Drawn:
        """A model of one datatype, with one to three inputs."""
        ports = [self.port(datatype, runtime) for _ in range(self.random.randint(1, 3))]
        rows = self.random.choice((0, 0, 1, 4, 8))
        return Drawn(self.name(), str(self.random.randint(1, 99)), runtime, rows, ports)

    def table(self, *datatypes: str) -> Drawn:
        """A model with rows of some datatypes, all sizes fixed; a pod lets so many rows wait that none is refused."""
        ports = [self.port(datatype, "python") for datatype in datatypes]
        ports = [replace(port, dims=port.shape) for port in ports]
        return Drawn(self.name(), "1", "python", 128, ports)

    def mixed(self) -> Drawn:
        """A model of all datatypes, which gives its inputs back."""
        ports = [
            Port(self.name(), self.name(), Operation("same", datatype), [self.random.randint(1, 6)], [-1])
            for datatype in DATATYPES
        ]
        return Drawn(self.name(), "1", "python", 0, ports)


def make(seed: int, repository: Path) -> Plan:
    """Write the models of a seed into a repository, one folder for each runtime, and give the cases that ask them."""
    drawing = Drawing(Random(seed))
    cases: list[Case] = []
    for runtime in ("python", "onnx"):
        for datatype in DATATYPES if runtime == "python" else ONNX:
            model = drawing.model(datatype, runtime)
            write(model, repository / runtime)
            cases.append(model.case(drawing.random, f"{runtime} {datatype}", "datatype"))
    mixed = drawing.mixed()
    write(mixed, repository / "python")
    cases.append(mixed.case(drawing.random, "all datatypes", "mixed"))
    cases.append(mixed.asked("extremes", "mixed", [extremes(p.operation.datatype) for p in mixed.ports]))
    cases.append(mixed.asked("empty", "mixed", [extremes(p.operation.datatype)[:0] for p in mixed.ports]))
    for kind, datatypes in (("rows", ("FP64", "INT64", "BOOL", "BYTES")), ("numbers", ("INT32",))):
        rows = drawing.table(*datatypes)
        write(rows, repository / "python")
        cases.append(rows.case(drawing.random, kind, kind))
    cases.append(decoupled(drawing, repository / "python"))
    spare = drawing.model("FP32", "python")
    write(spare, repository / "python")
    return Plan(cases, spare.name)


def write(model: Drawn, repository: Path) -> None:
    """The files of a model."""
    folder = repository / model.name / model.version
    folder.mkdir(parents=True)
    if model.runtime == "python":
        lines = [f'"{p.source}": ("{p.output}", {p.operation.source()})' for p in model.ports]
        (folder / "model.py").write_text(SOURCE.format(operations=", ".join(lines)))
    else:
        (folder / "model.onnx").write_bytes(onnx_file(model))
    kind = {"python": "python", "onnx": "onnxruntime"}[model.runtime]
    config = [f'name: "{model.name}"', f'backend: "{kind}"', f"max_batch_size: {model.rows}"]
    for side in ("input", "output"):
        config += [
            described(side, p.source if side == "input" else p.output, p.operation.datatype, p.dims)
            for p in model.ports
        ]
    (folder.parent / "config.pbtxt").write_text("\n".join([*config, "instance_group { kind: KIND_CPU }"]))


def described(side: str, name: str, datatype: str, dims: Sequence[int]) -> str:
    """A tensor in config.pbtxt."""
    kind = "STRING" if datatype == "BYTES" else datatype
    return f'{side} {{ name: "{name}" data_type: TYPE_{kind} dims: {list(dims)} }}'


def onnx_file(model: Drawn) -> bytes:
    """The model as ONNX; sizes that the config leaves open are variables."""
    nodes, initializers, inputs, outputs = [], [], {}, {}
    for port in model.ports:
        made, more = port.operation.node(port.source, port.output)
        nodes.append(made)
        initializers += more
        dims: list[int | str] = ["rows"] if model.rows else []
        dims += [f"{port.source}.{axis}" if dim < 0 else dim for axis, dim in enumerate(port.dims)]
        kind = onnx_files.tensor_type(ONNX[port.operation.datatype], dims)
        inputs[port.source], outputs[port.output] = kind, kind
    return onnx_files.model(nodes, inputs, outputs, initializers)


def decoupled(drawing: Drawing, repository: Path) -> Case:
    """A model that gives several answers, written, and a request for some."""
    random, name = drawing.random, drawing.name()
    count, source, output, by = drawing.name(), drawing.name(), drawing.name(), random.randint(2, 99)
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(DECOUPLED.format(by=by, count=count, source=source, output=output))
    config = [f'name: "{name}"', 'backend: "python"', described("input", count, "INT32", [1])]
    config += [described("input", source, "INT64", [-1]), described("output", output, "INT64", [-1])]
    config += ["model_transaction_policy { decoupled: true }", "instance_group { kind: KIND_CPU }"]
    (folder.parent / "config.pbtxt").write_text("\n".join(config))
    answers = random.randint(2, 7)
    x = values(random, "INT64", [random.randint(1, 6)]) >> 8
    inputs = [Tensor(count, "INT32", np.array([answers], np.int32)), Tensor(source, "INT64", x)]
    given = [[Tensor(output, "INT64", x * (number + by))] for number in range(answers)]
    return Case("decoupled", "decoupled", "python", name, "1", inputs, given)
