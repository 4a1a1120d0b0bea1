"""The signature of an ONNX model: what its file says, held against its config (`support/agreement.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.signature import Signature, TensorSpec
from inferencehub.inference.runtimes.support.agreement import Side
from inferencehub.inference.runtimes.support.declared import Entry
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
        Nodes(config, "input", inputs, without_shape, given.keys()).agreed(config.input),
        Nodes(config, "output", session.get_outputs(), without_shape).agreed(config.output),
        config.max_batch_size,
    )


class Nodes:
    """The inputs or the outputs of a model, as its session says them.

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
        """See `Side.agreed`."""
        passed_over = {name for name in self.optional if self.passed_over(name)}
        side = Side(self.config, self.kind, list(self.nodes), self.of_file, self.optional, passed_over)
        return side.agreed(entries)

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
