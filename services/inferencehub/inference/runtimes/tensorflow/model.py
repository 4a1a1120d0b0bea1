"""A SavedModel as a Python model: what the process of an instance loads and runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from inferencehub.core.values.errors import HubError, Kind, listed
from inferencehub.core.values.signature import TensorSpec
from inferencehub.inference.runtimes.python.channel import Load, Ready
from inferencehub.inference.runtimes.support.agreement import Side
from inferencehub.inference.runtimes.support.arrays import NUMPY
from inferencehub.inference.runtimes.support.error_text import failed, first_line
from inferencehub.pb import model_config_pb2 as config_pb

Array = npt.NDArray[Any]

# The parameters of Triton's TensorFlow backend, with what stands for them if a config has none.
SIGNATURE, DEFAULT_SIGNATURE = "TF_SIGNATURE_DEF", "serving_default"
TAG = "TF_GRAPH_TAG"
# By the names of `tf.DType`.
DTYPES = {np.dtype(code).name: dtype for dtype, code in NUMPY.items()} | {
    "bfloat16": "BF16",
    "string": "BYTES",
}
NODE = "\n\t [["  # the names of the graph's nodes follow the message, and some operators begin it with one
FIRST_NODE = re.compile(r"^\{\{\w+ [^{}]*\}\} *")
FUNCTION = re.compile(r" \[Op:\w*\]$")
ONE_OF_SEVERAL = re.compile(r"^\s*\(\d+\) [A-Z_]+: +")


class Model:
    """A signature of a SavedModel that answers calls, as `python/worker.py` runs it.

    Args:
        load: where its directory is, and its config.

    Raises:
        HubError: MODEL_FAILED if it has no such signature; else as `Side.agreed`.
        Exception: whatever TensorFlow raises for a directory that it cannot read.
    """

    def __init__(self, load: Load) -> None:
        config = config_pb.ModelConfig.FromString(load.config)
        tag = load.parameters.get(TAG)
        # The object owns the variables, which live as long as it does.
        self.loaded = tf.saved_model.load(str(Path(load.directory) / load.file), tags=[tag] if tag else None)
        name = load.parameters.get(SIGNATURE, DEFAULT_SIGNATURE)
        if name not in self.loaded.signatures:
            there = listed(map(repr, sorted(self.loaded.signatures))) if self.loaded.signatures else "none"
            raise failed(
                f"{load.file} has no signature '{name}', only {there}; the parameter {SIGNATURE} names another one"
            )
        self.signature = self.loaded.signatures[name]
        inputs = self.signature.structured_input_signature[1]
        self.types = {name: spec.dtype for name, spec in inputs.items()}
        outputs = side(config, "output", self.signature.structured_outputs).agreed(config.output)
        self.names = [spec.name for spec in outputs]
        self.ready = Ready(side(config, "input", inputs).agreed(config.input), outputs)

    def predict(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """The signature's outputs.

        Raises:
            ValueError: what TensorFlow says of inputs that its operators do not take.
        """
        tensors = {name: tf.cast(array, self.types[name]) for name, array in inputs.items()}
        try:
            outputs = self.signature(**tensors)
            return {name: outputs[name].numpy() for name in self.names}
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            raise ValueError(f"does not take this input: {message_of(error.message)}") from error


def side(config: config_pb.ModelConfig, kind: str, tensors: Mapping[str, Any]) -> Side:
    """The inputs or outputs of a signature, in the order of their names, for TensorFlow keeps none."""

    def of_file(name: str) -> TensorSpec:
        tensor = tensors[name]
        dtype = getattr(tensor.dtype, "name", "")
        if dtype not in DTYPES:
            raise HubError(
                Kind.UNSUPPORTED, f"{kind} '{name}' of the model is a {dtype} tensor, which is not supported"
            )
        rank = tensor.shape.rank
        sizes = () if rank is None else tuple([-1 if size is None else size for size in tensor.shape])
        return TensorSpec(name, DTYPES[dtype], sizes, any_shape=rank is None)

    return Side(config, kind, sorted(tensors), of_file)


def message_of(text: str) -> str:
    """What TensorFlow says is wrong, without its nodes, functions and the places of the model's source code."""
    before, _, _ = text.partition(NODE)
    last = before.strip().rpartition("\n")[2]
    last = FIRST_NODE.sub("", ONE_OF_SEVERAL.sub("", last))
    return first_line(FUNCTION.sub("", last)) or "TensorFlow gives no reason"
