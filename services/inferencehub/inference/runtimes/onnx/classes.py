"""The classes of a classifier, read from its ONNX file: what its label says for each column of its scores.

onnxruntime does not tell them, though exported classifiers have them: as an attribute of the node that gives the label,
or as a constant from which the label is picked by an ArgMax. So this follows the label from the graph's output back to
such a node. The numbers in the code are those of fields of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from struct import unpack

from inferencehub.core.oip.model_info import parameters_of
from inferencehub.core.values.class_outputs import UNKNOWN, columns, find_class
from inferencehub.core.values.signature import Signature
from inferencehub.inference.runtimes.onnx.graph_file import fields, graph_of, integers, parts, texts
from inferencehub.pb import model_config_pb2 as config_pb

NODE, INITIALIZER = 1, 5  # of GraphProto
INPUT, OUTPUT, OP_TYPE, ATTRIBUTE = 1, 2, 4, 5  # of NodeProto
ATTRIBUTE_NAME, INTS, STRINGS = 1, 8, 9  # of AttributeProto
DATA_TYPE, STRING_DATA, TENSOR_NAME, RAW_DATA = 2, 6, 8, 9  # of TensorProto
# The data types INT32 and INT64: struct code, size in bytes, and the field of numbers that are not raw.
WHOLE = {6: ("i", 4, 5), 7: ("q", 8, 7)}
CLASSIFIERS = {"LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"}
CHANGES_NO_LABEL = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
MOST_STEPS = 16  # from the label back to its classes


def predict_classes(file: Path, signature: Signature, config: config_pb.ModelConfig) -> str:
    """The parameter `predict_classes` for a classifier whose config does not set it.

    Args:
        file: an ONNX file that onnxruntime has loaded.
        signature: the model's inputs and outputs.
        config: the model's config.

    Returns:
        The classes in the order of their columns, with commas; "" if the file does not list them, or not so that the
        parameter could hold them.
    """
    parameters = dict(parameters_of(config))
    if "predict_classes" in parameters or not signature.outputs:
        return ""
    where = find_class(
        signature.outputs, bool(signature.max_batch_size), lambda name: parameters.get(name, "")
    )
    label = where.number or where.text or parameters.get("predict_class")
    scores = next((output for output in signature.outputs if output.name == where.scores), None)
    if not label:
        return ""
    try:
        classes = classes_of(file, label)
    except ValueError:  # a name that is not UTF-8, or an empty file
        return ""
    count = columns(scores.shape, bool(signature.max_batch_size)) if scores else UNKNOWN
    fits = count in (UNKNOWN, len(classes))
    plain = all(name and name == name.strip() and "," not in name for name in classes)
    return ",".join(classes) if classes and fits and plain and len(set(classes)) == len(classes) else ""


def classes_of(file: Path, label: str) -> list[str]:
    """The classes in the order of their columns; [] if the file does not say them.

    Args:
        file: an ONNX file that onnxruntime has loaded.
        label: the output with the label.
    """
    graph = graph_of(file)
    return Graph(graph).classes(label) if graph is not None else []


class Graph:
    """The nodes and the constants of a graph."""

    def __init__(self, message: memoryview) -> None:
        self.message = message

    def classes(self, label: str) -> list[str]:
        """See `classes_of`."""
        name = label
        for _ in range(MOST_STEPS):
            node = self._maker(name)
            if node is None:
                return []
            kind = texts(node, OP_TYPE)[0]
            inputs, outputs = texts(node, INPUT), texts(node, OUTPUT)
            if kind in CLASSIFIERS:
                return attribute_classes(node) if outputs[0] == name else []
            if kind == "ArrayFeatureExtractor":
                return self._constant(inputs[0]) if self._is_argmax(inputs[1]) else []
            if kind not in CHANGES_NO_LABEL:
                return []
            name = inputs[0]
        return []

    def _maker(self, name: str) -> memoryview | None:
        """The node that gives a value."""
        return next((node for node in parts(self.message, NODE) if name in texts(node, OUTPUT)), None)

    def _is_argmax(self, name: str) -> bool:
        node = self._maker(name)
        return node is not None and texts(node, OP_TYPE) == ["ArgMax"]

    def _constant(self, name: str) -> list[str]:
        """The elements of a constant of texts or of integers."""
        for tensor in parts(self.message, INITIALIZER):
            if texts(tensor, TENSOR_NAME) == [name]:
                return texts(tensor, STRING_DATA) or list(map(str, whole_numbers(tensor)))
        return []


def whole_numbers(tensor: memoryview) -> Sequence[int]:
    """The elements of a constant of INT32 or INT64, however they are written; none of another type."""
    for data_type, (code, size, field) in WHOLE.items():
        if (DATA_TYPE, data_type) in fields(tensor):
            raw = next(parts(tensor, RAW_DATA), None)
            return integers(tensor, field) if raw is None else unpack(f"<{len(raw) // size}{code}", raw)
    return ()


def attribute_classes(node: memoryview) -> list[str]:
    """The classes in the attributes of a classifier: classlabels_ints, classlabels_int64s or classlabels_strings."""
    for attribute in parts(node, ATTRIBUTE):
        listed = texts(attribute, ATTRIBUTE_NAME)[0].startswith("classlabels_")
        found = texts(attribute, STRINGS) or list(map(str, integers(attribute, INTS))) if listed else []
        if found:  # only one of the attributes has elements
            return found
    return []
