"""PyTorch models from a file: an ExportedProgram (`model.pt2`) or TorchScript (`model.pt`).

Each instance is a process, the one of the Python runtime, with a class of ours (`model.py`) in place of the user's. An
ExportedProgram is Python code that calls one operator after the other, so it holds the GIL between them, and a thread of
the pod would share it with the event loop. Operators are native code that may crash on a file that is broken, and an
error on a GPU leaves a process without a working one. Both cost one call so. The price is memory: each instance has the
library and the weights of its own.
"""

from __future__ import annotations

import msgspec

from inferencehub.inference.runtimes.from_file import FromFile
from inferencehub.inference.runtimes.python.channel import Load
from inferencehub.inference.runtimes.support.devices import devices_of


class Torch(FromFile):
    """`source.instances` processes with a model of PyTorch each, on the CPU or on the GPUs that the config names."""

    reader = "inferencehub.inference.runtimes.torch.model"
    library = "torch"
    on_gpu = True

    def variables(self) -> dict[str, str]:
        """PyTorch's own switch: it builds tensors out of a pickle, and nothing else."""
        return {} if self.source.processes.allow_pickle else {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}

    def placed(self, load: Load, instance: int) -> Load:
        return msgspec.structs.replace(load, device=devices_of(self.source.config)[instance])
