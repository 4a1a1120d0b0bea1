"""Finds which of eight named colours is nearest to an RGB value; an example of a model.py."""

from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]

NAMES = np.array(["black", "white", "red", "green", "blue", "yellow", "cyan", "magenta"])
COLOURS = 255 * np.array(
    [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]]
)


class Model:
    """One instance of the model, with the files of its `directory` and the parameters of its config.pbtxt."""

    def __init__(self, directory: Path, parameters: dict[str, str]) -> None:
        self.softness = float(parameters.get("softness", "32"))

    def predict(self, inputs: Arrays) -> Arrays:
        """rgb [rows, 3], each from 0 to 255 -> scores [rows, 8], each row with the sum 1, and label [rows, 1]."""
        distances = np.linalg.norm(inputs["rgb"][:, None, :] - COLOURS, axis=2)  # [rows, 8]
        nearness = np.exp((distances.min(axis=1, keepdims=True) - distances) / self.softness)
        return {
            "scores": nearness / nearness.sum(axis=1, keepdims=True),
            "label": NAMES[distances.argmin(axis=1)][:, None],
        }
