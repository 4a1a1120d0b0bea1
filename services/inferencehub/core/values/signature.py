"""A model's signature (its inputs and outputs), and the check of requests against it.

Both tiers describe a model with a `ModelInfo`. The pod builds it from the model repository. The gateway builds it from
the pod's answers to ModelMetadata and ModelConfig. `Signature.check` is the only check of this kind: a runtime gets
only tensors that have passed it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter, is_

from inferencehub.core.values.class_outputs import INTEGERS, TEXTS, ClassOutputs, find_class
from inferencehub.core.values.errors import bad_input, listed, shown
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.tensors import Tensor

NAME = attrgetter("name")
MOST_PARTS = 10_000  # of a request that runs in parts: rows of no bytes cost their sender nothing
JSON_OUTPUTS = "json_outputs"  # the parameter of a config that lists the outputs whose BYTES are JSON
FILLED = INTEGERS | TEXTS | {"FP32", "FP64"}  # dtypes of an input that /predict can fill


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or an output of a model.

    `shape` has -1 for a dimension of any size. If the model batches, the batch dimension comes first. With `any_shape`,
    `shape` is () and the model takes every shape. ModelMetadata cannot say that: it looks like a scalar there. The
    ModelConfig of our pods tells the two apart. For other servers a gateway lets every shape pass where a model without
    batches has no dimensions, and the server checks it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    optional: bool = False
    any_shape: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs, outputs and batch size of a model.

    `max_batch_size` 0 means that the model does not batch: its first dimension is not a batch dimension. `decoupled` is
    the protocol's word for a model that gives any number of answers to a request.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int = 0
    decoupled: bool = False
    names: list[str] = field(init=False, repr=False, compare=False)  # names of the inputs
    first_is_all: bool = field(init=False, repr=False, compare=False)  # whether all other inputs are optional

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", list(map(NAME, self.inputs)))
        object.__setattr__(self, "first_is_all", all(spec.optional for spec in self.inputs[1:]))

    @property
    def mergeable_rows(self) -> int:
        """How many rows of several requests may run together; 0 if a request runs by itself."""
        return 0 if self.decoupled else self.max_batch_size

    def check(self, request: InferRequest, in_parts: bool = False) -> tuple[InferRequest, int]:
        """Check a request against the signature.

        Args:
            request: the request.
            in_parts: whether it may have more rows than `max_batch_size`, because it runs in parts: up to `MOST_PARTS`.

        Returns:
            The request with its inputs in the model's order, and its number of rows (1 if the model does not batch).

        Raises:
            HubError: BAD_INPUT that names the input, what was expected and what came.
        """
        inputs = request.inputs
        if list(map(NAME, inputs)) == self.names:
            for spec, tensor in zip(self.inputs, inputs, strict=True):
                check_tensor(request.model, spec, tensor)
        else:
            inputs = self._in_order(request)
            if not (len(inputs) == len(request.inputs) and all(map(is_, inputs, request.inputs))):
                request = request.with_inputs(inputs)
        if request.outputs:
            self._check_outputs(request)
        return request, self._rows(request.model, inputs, in_parts)

    def _check_outputs(self, request: InferRequest) -> None:
        known = {spec.name: spec.dtype for spec in self.outputs}
        for name in request.outputs:
            if name not in known:
                expected = listed(map(repr, sorted(known)))
                raise bad_input(
                    f"model '{request.model}': unknown output '{name[:80]}', expected one of [{expected}]"
                )
        if len(set(request.outputs)) != len(request.outputs):
            raise bad_input(
                f"model '{request.model}': expected each output once, got {shown(list(request.outputs))}"
            )
        for name, count in zip(request.outputs, request.classes, strict=False):
            if count and known[name] in ("BYTES", "BOOL"):
                raise bad_input(
                    f"model '{request.model}': output '{name}' is {known[name]}, expected numbers for the parameter "
                    "'classification'"
                )

    def _in_order(self, request: InferRequest) -> tuple[Tensor, ...]:
        """The checked inputs in the model's order; optional inputs may be missing."""
        given = {tensor.name: tensor for tensor in request.inputs}
        if len(given) != len(request.inputs):
            raise bad_input(
                f"model '{request.model}': expected each input once, got {shown([t.name for t in request.inputs])}"
            )
        ordered = []
        for spec in self.inputs:
            tensor = given.pop(spec.name, None)
            if tensor is not None:
                check_tensor(request.model, spec, tensor)
                ordered.append(tensor)
            elif not spec.optional:
                raise bad_input(
                    f"model '{request.model}': input '{spec.name}' is missing, expected {self._inputs()}, "
                    f"got {shown([t.name for t in request.inputs])}"
                )
        if given:
            raise bad_input(
                f"model '{request.model}': unknown input '{next(iter(given))[:80]}', expected {self._inputs()}"
            )
        return tuple(ordered)

    def _rows(self, model: str, inputs: tuple[Tensor, ...], in_parts: bool) -> int:
        if not self.max_batch_size:
            return 1
        rows = inputs[0].shape[0] if inputs else 1
        for tensor in inputs[1:]:
            if tensor.shape[0] != rows:
                raise bad_input(
                    f"model '{model}': input '{tensor.name}' has {tensor.shape[0]} rows, input '{inputs[0].name}' {rows}"
                )
        most = self.max_batch_size * (MOST_PARTS if in_parts and not self.decoupled else 1)
        if not 1 <= rows <= most:
            raise bad_input(f"model '{model}': {rows} rows in the request, expected 1 to {most}")
        return rows

    def _inputs(self) -> str:
        return listed(
            [
                f"'{spec.name}' {spec.dtype} {'of any shape' if spec.any_shape else list(spec.shape)}"
                for spec in self.inputs
            ]
        )


def fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a shape is the expected one, in which -1 is any size."""
    return len(shape) == len(expected) and all(e in (-1, s) for s, e in zip(shape, expected, strict=True))


def check_tensor(model: str, spec: TensorSpec, tensor: Tensor) -> None:
    """Refuse a tensor whose dtype or shape does not match its spec.

    Raises:
        HubError: BAD_INPUT that says what was expected and what came.
    """
    if tensor.dtype != spec.dtype:
        raise bad_input(f"model '{model}': input '{spec.name}' is {tensor.dtype}, expected {spec.dtype}")
    shape, expected = tensor.shape, spec.shape
    if shape == expected or (shape and expected[:1] == (-1,) and shape[1:] == expected[1:]):
        return  # the fast case: usually only the batch dimension is variable
    if spec.any_shape:
        return
    if not fits(shape, expected):
        raise bad_input(
            f"model '{model}': input '{spec.name}' has shape {list(shape)}, expected {list(expected)}"
            + (" where -1 is any size" if -1 in expected else "")
        )


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model version that a pod serves.

    Args:
        name, version: as in the model repository.
        platform: the runtime's name as the protocol shows it.
        signature: the model's inputs and outputs.
        slots: how many batches one pod runs at the same time.
        parameters: the config's string parameters (`predict_class`, `run_at_most_once`, …), sorted by name.
    """

    name: str
    version: str
    platform: str
    signature: Signature
    slots: int = 1
    parameters: tuple[tuple[str, str], ...] = ()
    class_outputs: ClassOutputs | None = field(
        init=False, repr=False, compare=False
    )  # the outputs that /predict reads; None if the model declares none
    no_predict: str = field(
        init=False, repr=False, compare=False
    )  # why /predict cannot serve it; "" if it can
    json_outputs: frozenset[str] = field(
        init=False, repr=False, compare=False
    )  # the outputs whose BYTES are JSON

    def __post_init__(self) -> None:
        found = class_outputs(self.signature, self.parameters)
        object.__setattr__(self, "class_outputs", found)
        object.__setattr__(self, "no_predict", self._no_call() or (found.refusal if found else ""))
        object.__setattr__(self, "json_outputs", frozenset(names_in(self.parameter(JSON_OUTPUTS))))

    def parameter(self, name: str) -> str:
        """A parameter's value; "" if it is not set."""
        for key, value in self.parameters:
            if key == name:
                return value
        return ""

    @property
    def at_most_once(self) -> bool:
        """Whether work that one pod may have begun must not be sent to another pod."""
        return self.parameter("run_at_most_once").lower() in ("1", "true", "yes")

    def _no_call(self) -> str:
        """Why /predict cannot call the model; "" if it can."""
        if self.signature.decoupled:
            return "it gives several answers"
        inputs = self.signature.inputs
        if not inputs:
            return "it has no input"
        if not self.signature.first_is_all:
            return f"it needs more than one input, {shown(self.signature.names, 200)}"
        return "" if inputs[0].dtype in FILLED else f"its input '{inputs[0].name}' is {inputs[0].dtype}"


def names_in(text: str) -> list[str]:
    """The names in a parameter that lists them, with commas."""
    return [name for part in text.split(",") if (name := part.strip())]


@lru_cache(maxsize=256)  # descriptions of the same model are made again and again
def class_outputs(signature: Signature, parameters: tuple[tuple[str, str], ...]) -> ClassOutputs | None:
    """The outputs in which /predict finds the class; None if the model declares no outputs."""
    if not signature.outputs:
        return None
    given = dict(parameters)
    return find_class(signature.outputs, bool(signature.max_batch_size), lambda name: given.get(name, ""))
