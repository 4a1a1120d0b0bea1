"""A model of PyTorch as a Python model: what the process of an instance loads and runs."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from inferencehub.core.values.errors import bad_input
from inferencehub.inference.runtimes.python.channel import Load, Ready
from inferencehub.inference.runtimes.support.devices import CPU
from inferencehub.inference.runtimes.support.error_text import failed
from inferencehub.inference.runtimes.torch.errors import refusal
from inferencehub.inference.runtimes.torch.exported import Exported
from inferencehub.inference.runtimes.torch.program import Program, array_of, leaves, tensor_of
from inferencehub.inference.runtimes.torch.script import Script
from inferencehub.inference.runtimes.torch.signature import inputs_of, outputs_of
from inferencehub.pb import model_config_pb2 as config_pb

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]


class Model:
    """A model that answers calls, as `python_worker/worker.py` runs it.

    Args:
        load: where its file is, its config, and its device.

    Raises:
        HubError: if the file or the device cannot be served, or does not agree with the config.
        Exception: whatever PyTorch raises for a file that it cannot read.
    """

    def __init__(self, load: Load) -> None:
        config = config_pb.ModelConfig.FromString(load.config)
        # The environment bounds the threads of an operator; two operators never run at once here.
        if torch.get_num_interop_threads() > 1:
            torch.set_num_interop_threads(1)
        self.device = device_of(load.device)
        self.program = read(Path(load.directory) / load.file, self.device, load.allow_pickle)
        if 0 < self.program.rows < config.max_batch_size:
            raise bad_input(
                f"config.pbtxt: max_batch_size {config.max_batch_size}, and the model takes at most {self.program.rows} rows"
            )
        inputs = inputs_of(config, self.program.inputs)
        outputs = outputs_of(config, self.program.outputs)
        self.inputs = {spec.name: (spec.dtype, at) for spec, at in inputs}
        self.outputs = {spec.name: at for spec, at in outputs}
        self.ready = Ready(tuple(spec for spec, _ in inputs), tuple(spec for spec, _ in outputs))

    def predict(self, inputs: dict[str, Array]) -> dict[str, Any]:
        """The outputs of `forward`.

        Raises:
            ValueError: what PyTorch says of an input that the model does not take.
        """
        tensors = {}
        for name, array in inputs.items():
            dtype, at = self.inputs[name]
            tensors[at] = tensor_of(array, dtype, self.device)
        try:
            with torch.inference_mode():
                return self._named(self.program.run(tensors))
        except torch.AcceleratorError:
            # After an error on a GPU, no call of this process works there. The next process has a GPU as new.
            logger.exception("an operator has failed on the GPU")
            os._exit(1)
        except Exception as error:
            if sentence := refusal(error):
                raise ValueError(sentence) from error
            raise

    def _named(self, given: Any) -> dict[str, Any]:
        """The outputs by the names that callers know: those of a dict by its keys, others by their places."""
        if self.program.outputs is None and isinstance(given, dict):
            keyed = {name: array_of(given[name]) for name in self.outputs if name in given}
            if keyed:  # its place must not give a key's output to another name
                return keyed
        flat = list(leaves(given))
        return {name: array_of(flat[at]) for name, at in self.outputs.items() if at < len(flat)}


def read(file: Path, device: torch.device, allow_pickle: bool) -> Program:
    """The program in a file: an ExportedProgram if its suffix says so, else TorchScript."""
    return Exported(file, device, allow_pickle) if file.suffix == ".pt2" else Script(file, device)


def device_of(number: int) -> torch.device:
    """The device of an instance, by the number of its GPU.

    Raises:
        HubError: MODEL_FAILED if PyTorch has no such GPU here.
    """
    if number == CPU:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise failed(
            "config.pbtxt asks for a GPU (KIND_GPU), and PyTorch finds none here: expected a PyTorch with CUDA and an NVIDIA "
            "driver that is new enough for it, or KIND_CPU"
        )
    if number >= torch.cuda.device_count():
        raise failed(f"config.pbtxt asks for GPU {number}, and there are {torch.cuda.device_count()} here")
    return torch.device("cuda", number)
