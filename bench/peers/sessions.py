"""The models for all peers: the same files with one thread, in the onnxruntime of the peer's environment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

BENCH = Path(__file__).resolve().parents[1]
FILES = {
    "three": BENCH / "models" / "three" / "1" / "model.onnx",
    "digits": BENCH.parent / "models" / "digits" / "1" / "model.onnx",
    "image": BENCH / "models" / "image" / "1" / "model.onnx",
}
OUTPUTS = {"three": "scores", "digits": "probabilities", "image": "means"}
Run = Callable[[Any], Any]


def session(name: str) -> Run:
    """A model: FP32 array with rows first in, the same out."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    opened = ort.InferenceSession(FILES[name], options, providers=["CPUExecutionProvider"])
    return partial(run, opened, opened.get_inputs()[0].name, OUTPUTS[name])


def run(opened: Any, source: str, output: str, rows: Any) -> Any:
    """One run of a session."""
    return opened.run([output], {source: rows})[0]


def sessions() -> dict[str, Run]:
    """All models by name."""
    return {name: session(name) for name in FILES}


def prediction(model: Run, features: list[float]) -> tuple[int, float]:
    """The class of one row and its confidence, as `POST /predict` answers them."""
    scores = model(np.array([features], np.float32))[0]
    best = int(scores.argmax())
    return best, float(scores[best])


def means(model: Run, data: Any) -> Any:
    """The three means of a picture's 150,528 numbers, given in any shape."""
    return model(np.asarray(data, np.float32).reshape(1, 3, 224, 224))[0]
