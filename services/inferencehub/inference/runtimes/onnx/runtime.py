"""ONNX models, run by onnxruntime.

The model file describes inputs, outputs and types. A config may repeat them, and must then agree with the file. All
instances share one session, which several threads may run at the same time, so the weights are in memory only once. The
session's own threads are limited to the number of cores divided by the number of instances, so instances do not compete
for cores.
"""

from __future__ import annotations

import logging
from typing import Any

import onnxruntime as ort

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.core.values.requests import InferRequest
from inferencehub.core.values.signature import Signature
from inferencehub.core.values.tensors import Tensor
from inferencehub.inference.runtimes.onnx.classes import predict_classes
from inferencehub.inference.runtimes.onnx.errors import message_of, run_error
from inferencehub.inference.runtimes.onnx.specs import signature_of
from inferencehub.inference.runtimes.onnx.text import text_array
from inferencehub.inference.runtimes.onnx.unknown_rank import without_shape
from inferencehub.inference.runtimes.runtime import EmitOutputs, ModelSource, Runtime
from inferencehub.inference.runtimes.support.arrays import from_array, to_array
from inferencehub.inference.runtimes.support.cpu_limit import cpu_limit
from inferencehub.inference.runtimes.support.threads import Threads

logger = logging.getLogger(__name__)

FATAL = 4  # onnxruntime's highest log level


class Onnx(Runtime):
    """A model that runs in a session of onnxruntime on the CPU."""

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        self.threads = Threads(source.name, source.instances)
        self.signature = Signature((), ())
        self.session: Any = None

    async def load(self) -> Signature:
        self.session, self.signature = await self.threads.run(self._open)
        await self.threads.run(self._complete_config)
        return self.signature

    async def run(
        self, instance: int, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...]:
        return await self.threads.run_sized(lambda: self._run(request), request.size)

    async def unload(self) -> None:
        self.threads.close()
        self.session = None

    def _open(self) -> tuple[Any, Signature]:
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, cpu_limit() // self.source.instances)
        options.inter_op_num_threads = 1
        # Threads that spin while they wait would take cores from the service itself.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # All that matters comes as an exception. The rest would be coloured lines of text on stderr, among our JSON.
        options.log_severity_level = FATAL
        ort.set_default_logger_severity(FATAL)
        try:
            session = ort.InferenceSession(str(self.source.file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise HubError(
                Kind.MODEL_FAILED, f"{self.source.file.name} cannot be loaded: {message_of(error)}"
            ) from None
        return session, signature_of(self.source.config, session, without_shape(self.source.file))

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
            refusal = run_error(self.source.name, error)
            if refusal.kind is Kind.BAD_INPUT:
                extra = {"model": self.source.name, "reason": refusal.detail}
                logger.info("model refused its input", extra=extra)
            else:
                logger.error("model failed", extra={"model": self.source.name, "detail": str(error)})
            raise refusal from None
        specs = self.signature.outputs
        return tuple(
            [from_array(spec.name, spec.dtype, array) for spec, array in zip(specs, arrays, strict=True)]
        )
