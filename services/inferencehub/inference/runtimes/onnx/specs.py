"""The signature of an ONNX model: what its file says, and what its config says about the same inputs and outputs.

What the config leaves out, the file tells. What both say must agree; the config may fix a dimension that the file has
as -1. If the config lists inputs or outputs, only these are used: an output of a type that the protocol does not have
is no obstacle then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from inferencehub.core.oip.model_info import TYPE_NAMES
from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.signature import Signature, TensorSpec
from inferencehub.inference.runtimes.support.declared import Entry, model_shape
from inferencehub.pb import model_config_pb2 as config_pb

DTYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


def signature_of(
    config: config_pb.ModelConfig, session: Any, without_shape: frozenset[str] | None
) -> Signature:
    """The model's signature, checked against its config.

    Args:
        config: the config.
        session: onnxruntime's session of the model.
        without_shape: the inputs and outputs that the file declares without a shape; None if it cannot be read.

    Raises:
        HubError: BAD_INPUT if file and config do not agree, UNSUPPORTED for a type that the protocol does not have.
    """
    given = {node.name: node for node in session.get_overridable_initializers()}
    inputs = [*session.get_inputs(), *given.values()]
    return Signature(
        Side(config, "input", inputs, without_shape, given.keys()).agreed(config.input),
        Side(config, "output", session.get_outputs(), without_shape).agreed(config.output),
        config.max_batch_size,
    )


class Side:
    """The inputs or the outputs of a model.

    Args:
        config: the config.
        kind: "input" or "output", for error sentences.
        nodes: what the session says.
        without_shape: as in `signature_of`.
        optional: the inputs that a caller may leave out, because the file has their values.
    """

    def __init__(
        self,
        config: config_pb.ModelConfig,
        kind: str,
        nodes: list[Any],
        without_shape: frozenset[str] | None,
        optional: Iterable[str] = (),
    ) -> None:
        self.config = config
        self.kind = kind
        self.nodes = {node.name: node for node in nodes}
        self.without_shape = without_shape
        self.optional = set(optional)

    def agreed(self, entries: Iterable[Entry]) -> tuple[TensorSpec, ...]:
        """The config's entries as specs, in its order; the file's specs if the config has none.

        Raises:
            HubError: as in `signature_of`.
        """
        entries = list(entries)
        if not entries:
            specs = [self.of_file(name) for name in self.nodes if not self.passed_over(name)]
            for spec in specs:
                self.check_batch(spec)
            return tuple(specs)
        specs = [self.of_both(entry) for entry in entries]
        missing = self.nodes.keys() - {spec.name for spec in specs} - self.optional
        if self.kind == "input" and missing:
            raise bad_input(f"config.pbtxt: the model's input '{min(missing)}' is not listed")
        return tuple(specs)

    def passed_over(self, name: str) -> bool:
        """Whether an optional input is not offered: it has no type of the protocol, or no rows where the model batches."""
        node = self.nodes[name]
        rows = bool(node.shape) and not isinstance(node.shape[0], int)
        return name in self.optional and (
            node.type not in DTYPES or bool(self.config.max_batch_size and not rows)
        )

    def of_file(self, name: str) -> TensorSpec:
        """The spec in the file; a symbolic dimension becomes -1.

        Raises:
            HubError: UNSUPPORTED if there is no such type in the protocol.
        """
        node = self.nodes[name]
        if node.type not in DTYPES:
            raise HubError(Kind.UNSUPPORTED, not_supported(self.kind, node, list(self.nodes.values())))
        shape = tuple([dim if isinstance(dim, int) and dim >= 0 else -1 for dim in node.shape])
        unknown = not shape and (self.without_shape is None or name in self.without_shape)
        return TensorSpec(name, DTYPES[node.type], shape, name in self.optional, unknown)

    def of_both(self, entry: Entry) -> TensorSpec:
        """The spec of a config's entry.

        Raises:
            HubError: BAD_INPUT if the file has no such input or output, or another type or shape.
        """
        if entry.name not in self.nodes:
            raise bad_input(
                f"config.pbtxt: {self.kind} '{entry.name}' is not in the model, which has {sorted(self.nodes)}"
            )
        file = self.of_file(entry.name)
        dtype = TYPE_NAMES[entry.data_type] if entry.data_type else file.dtype
        if entry.dims or entry.HasField("reshape"):
            shape = model_shape(self.config, entry, self.kind)
            spec = replace(file, dtype=dtype, shape=shape, any_shape=False)
        else:
            spec = replace(file, dtype=dtype)
        self.check_batch(file, known=spec)
        fits = file.any_shape or (
            len(spec.shape) == len(file.shape)
            and all(o in (-1, s) for s, o in zip(spec.shape, file.shape, strict=True))
        )
        if dtype != file.dtype or not fits:
            raise bad_input(
                f"config.pbtxt: {self.kind} '{spec.name}' is {dtype} {list(spec.shape)}, "
                f"in the model {file.dtype} {list(file.shape)}"
            )
        return spec

    def check_batch(self, file: TensorSpec, known: TensorSpec | None = None) -> None:
        """Refuse an input or output without a variable first dimension if the model batches.

        Raises:
            HubError: BAD_INPUT.
        """
        batch = self.config.max_batch_size
        if not batch or file.shape[:1] == (-1,):
            return
        if not file.any_shape:
            raise bad_input(
                f"config.pbtxt: max_batch_size {batch}, but '{file.name}' has shape {list(file.shape)} in the "
                "model, whose first dimension is not variable"
            )
        if (known or file).any_shape and self.kind == "input":
            raise bad_input(
                f"config.pbtxt: max_batch_size {batch}, but input '{file.name}' has no shape in the model, expected "
                "its dims in the config"
            )


def not_supported(kind: str, node: Any, nodes: list[Any]) -> str:
    """The sentence for a type that the protocol does not have; for ZipMap's, with the ways out."""
    sentence = f"{kind} '{node.name}' of the model is a {node.type}, which is not supported"
    others = [other.name for other in nodes if other.type in DTYPES]
    ways = []
    if node.type.startswith("seq(map("):
        ways.append("export with zipmap=False")
    if kind == "output" and others:
        ways.append(f"list only {others} as outputs in config.pbtxt")
    return f"{sentence}: {' or '.join(ways)}" if ways else sentence
