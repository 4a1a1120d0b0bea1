"""ONNX models, run by onnxruntime.

The model file describes inputs, outputs and types. A config may repeat them, and must then agree with the file. All
instances share one session, which several threads may run at the same time, so the weights are in memory only once. The
session's own threads are limited to the number of cores divided by the number of instances, so instances do not compete
for cores.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import onnxruntime as ort

from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature, TensorSpec
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.onnx.text import text_array
from inferencehub.inference.runtimes.runtime import EmitOutputs, ModelSource, Runtime, failed_run
from inferencehub.inference.runtimes.support.arrays import from_array, to_array
from inferencehub.inference.runtimes.support.cpu_limit import cpu_limit
from inferencehub.inference.runtimes.support.declared import declared
from inferencehub.inference.runtimes.support.error_text import first_line
from inferencehub.inference.runtimes.support.onnx_classes import predict_classes
from inferencehub.inference.runtimes.support.threads import Threads

logger = logging.getLogger(__name__)

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
# What is cut out of onnxruntime's messages: codes at the beginning, and locations in its source code.
NOISE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/[^\s:]*onnxruntime/[^\s:]+:\d+ .*?\) (?:const )?")


class Onnx(Runtime):
    """A model that runs in a session of onnxruntime on the CPU."""

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        self.threads = Threads(source.name, source.instances)
        self.signature = Signature((), ())
        self.session: Any = None

    async def load(self) -> Signature:
        self.session = await self.threads.run(self._open)
        told = self._told()
        written = declared(self.source.config)
        self.signature = Signature(
            agreed(written.inputs, told.inputs, "input"),
            agreed(written.outputs, told.outputs, "output"),
            told.max_batch_size,
        )
        await self.threads.run(self._complete_config)
        return self.signature

    async def run(
        self, instance: int, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...]:
        return await self.threads.run_sized(lambda: self._run(request), request.size)

    async def unload(self) -> None:
        self.threads.close()
        self.session = None

    def _open(self) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, cpu_limit() // self.source.instances)
        options.inter_op_num_threads = 1
        # Threads that spin while they wait would take cores from the service itself.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            return ort.InferenceSession(str(self.source.file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise HubError(
                Kind.MODEL_FAILED, f"{self.source.file.name} cannot be loaded: {message_of(error)}"
            ) from None

    def _told(self) -> Signature:
        batch = self.source.config.max_batch_size
        inputs = tuple([spec_of(node) for node in self.session.get_inputs()])
        outputs = tuple([spec_of(node) for node in self.session.get_outputs()])
        for spec in (*inputs, *outputs) if batch else ():
            if not spec.shape or spec.shape[0] != -1:
                raise bad_input(
                    f"config.pbtxt: max_batch_size {batch}, but '{spec.name}' has shape {list(spec.shape)} in the "
                    "model, whose first dimension is not variable"
                )
        return Signature(inputs, outputs, batch)

    def _complete_config(self) -> None:
        """Add the classes that the model file lists to the config, as a user would write them."""
        if classes := predict_classes(self.source.file, self.signature, self.source.config):
            self.source.config.parameters["predict_classes"].string_value = classes

    def _run(self, request: InferRequest) -> tuple[Tensor, ...]:
        feed = {
            tensor.name: text_array(request.model, tensor) if tensor.dtype == "BYTES" else to_array(tensor)
            for tensor in request.inputs
        }
        names = [spec.name for spec in self.signature.outputs]
        try:
            arrays = self.session.run(names, feed)
        except Exception as error:
            logger.error("model failed", extra={"model": self.source.name, "detail": str(error)})
            raise failed_run(self.source.name) from None
        specs = self.signature.outputs
        return tuple(
            [from_array(spec.name, spec.dtype, array) for spec, array in zip(specs, arrays, strict=True)]
        )


def spec_of(node: Any) -> TensorSpec:
    """The spec of a session's input or output; a symbolic dimension becomes -1.

    Raises:
        HubError: UNSUPPORTED if there is no such type in the protocol.
    """
    if node.type not in DTYPES:
        raise HubError(
            Kind.UNSUPPORTED, f"'{node.name}' of the model is a {node.type}, which is not supported"
        )
    shape = tuple([dim if isinstance(dim, int) and dim >= 0 else -1 for dim in node.shape])
    return TensorSpec(node.name, DTYPES[node.type], shape)


def agreed(
    written: tuple[TensorSpec, ...], told: tuple[TensorSpec, ...], kind: str
) -> tuple[TensorSpec, ...]:
    """Check the config's specs against those of the model file. The config may fix a dimension that the file has as -1.

    Args:
        written: the specs in the config.
        told: the specs in the model file.
        kind: "input" or "output", for the error sentence.

    Returns:
        The config's specs, in its order; the file's specs if the config has none.

    Raises:
        HubError: BAD_INPUT if they do not agree.
    """
    if not written:
        return told
    by_name = {spec.name: spec for spec in told}
    for spec in written:
        other = by_name.get(spec.name)
        if other is None:
            raise bad_input(
                f"config.pbtxt: {kind} '{spec.name}' is not in the model, which has {sorted(by_name)}"
            )
        fits = len(spec.shape) == len(other.shape) and all(
            o in (-1, s) for s, o in zip(spec.shape, other.shape, strict=True)
        )
        if other.dtype != spec.dtype or not fits:
            raise bad_input(
                f"config.pbtxt: {kind} '{spec.name}' is {spec.dtype} {list(spec.shape)}, "
                f"in the model {other.dtype} {list(other.shape)}"
            )
    missing = by_name.keys() - {spec.name for spec in written}
    if kind == "input" and missing:
        raise bad_input(f"config.pbtxt: the model's input '{min(missing)}' is not listed")
    return written


def message_of(error: Exception) -> str:
    """onnxruntime's message, without its codes and without locations in its source code."""
    return first_line(NOISE.sub("", str(error))) or "onnxruntime gives no reason"
