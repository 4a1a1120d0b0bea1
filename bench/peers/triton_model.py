"""Triton's Python backend: `model.py` of each model, as bench/servers/peer.py copies it into a repository.

The server hands over as many requests as its dynamic batcher had waiting; their rows run as one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from bench.peers.sessions import OUTPUTS, session


class TritonPythonModel:
    """A model of the bench."""

    def initialize(self, args: dict[str, str]) -> None:
        self.output = OUTPUTS[args["model_name"]]
        self.run = session(args["model_name"])

    def execute(self, requests: list[Any]) -> list[Any]:
        inputs = [request.inputs()[0].as_numpy() for request in requests]
        rows = np.concatenate(inputs) if len(inputs) > 1 else inputs[0]
        answers = np.split(self.run(rows), np.cumsum([len(one) for one in inputs])[:-1])
        return [triton.InferenceResponse([triton.Tensor(self.output, answer)]) for answer in answers]
