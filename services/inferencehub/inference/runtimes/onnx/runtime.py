"""ONNX models, run by onnxruntime, on the CPU or on the GPUs that the config names.

The model file describes inputs, outputs and types. A config may repeat them, and must then agree with the file. All
instances on the CPU share one session, and so do those on one GPU. Several threads may run a session at the same time, so
the weights are in memory only once. The session's own threads are limited to the number of cores divided by the number of instances, so instances do not compete
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
from inferencehub.inference.runtimes.support.devices import CPU, devices_of
from inferencehub.inference.runtimes.support.threads import Threads

logger = logging.getLogger(__name__)

FATAL = 4  # onnxruntime's highest log level

CUDA = "CUDAExecutionProvider"


class Onnx(Runtime):
    """A model that runs in sessions of onnxruntime, one for each device."""

    on_gpu = True

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        self.threads = Threads(source.name, source.instances)
        self.signature = Signature((), ())
        self.devices = devices_of(source.config)
        self.sessions: dict[int, Any] = {}  # by device

    async def load(self) -> Signature:
        self.signature = await self.threads.run(self._open)
        await self.threads.run(self._complete_config)
        return self.signature

    async def run(
        self, instance: int, request: InferRequest, deadline: float, emit: EmitOutputs
    ) -> tuple[Tensor, ...]:
        return await self.threads.run_sized(lambda: self._run(instance, request), request.size)

    async def unload(self) -> None:
        self.threads.close()
        self.sessions = {}

    def _open(self) -> Signature:
        self.sessions = {device: self._session(device) for device in dict.fromkeys(self.devices)}
        session = self.sessions[self.devices[0]]
        return signature_of(self.source.config, session, without_shape(self.source.file))

    def _session(self, device: int) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, cpu_limit() // self.source.instances)
        options.inter_op_num_threads = 1
        # Threads that spin while they wait would take cores from the service itself.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # All that matters comes as an exception. The rest would be coloured lines of text on stderr, among our JSON.
        options.log_severity_level = FATAL
        ort.set_default_logger_severity(FATAL)
        try:
            session = ort.InferenceSession(str(self.source.file), options, providers=providers_of(device))
        except HubError:
            raise
        except Exception as error:
            raise HubError(
                Kind.MODEL_FAILED, f"{self.source.file.name} cannot be loaded: {message_of(error)}"
            ) from None
        if device != CPU and CUDA not in session.get_providers():
            raise HubError(
                Kind.MODEL_FAILED,
                f"config.pbtxt asks for GPU {device}, and onnxruntime cannot use it: expected an NVIDIA driver, CUDA and cuDNN "
                "in the versions that this onnxruntime wants",
            )
        return session

    def _complete_config(self) -> None:
        """Add the classes that the model file lists to the config, as a user would write them."""
        if classes := predict_classes(self.source.file, self.signature, self.source.config):
            self.source.config.parameters["predict_classes"].string_value = classes

    def _run(self, instance: int, request: InferRequest) -> tuple[Tensor, ...]:
        feed = {
            tensor.name: text_array(request.model, tensor) if tensor.dtype == "BYTES" else to_array(tensor)
            for tensor in request.inputs
        }
        names = [spec.name for spec in self.signature.outputs]
        try:
            arrays = self.sessions[self.devices[instance]].run(names, feed)
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


def providers_of(device: int) -> list[Any]:
    """onnxruntime's providers for a device. On a GPU, the CPU runs the operators that CUDA does not have.

    Raises:
        HubError: MODEL_FAILED if onnxruntime was built without CUDA.
    """
    on_cpu = "CPUExecutionProvider"
    if device == CPU:
        return [on_cpu]
    if CUDA not in ort.get_available_providers():
        raise HubError(
            Kind.MODEL_FAILED,
            "config.pbtxt asks for a GPU (KIND_GPU), and this onnxruntime runs on the CPU only: install onnxruntime-gpu in "
            "place of onnxruntime, or choose KIND_CPU",
        )
    return [(CUDA, {"device_id": str(device)}), on_cpu]
