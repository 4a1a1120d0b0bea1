"""Adds numbers for a while, and answers as `three` does: the class of the largest number, 3 where none is above 0.5."""

from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]

ADDITIONS = 100_000  # a row


class Model:
    def __init__(self, directory: Path, parameters: dict[str, str]) -> None:
        self.total = 0

    def predict(self, inputs: Arrays) -> Arrays:
        x = inputs["x"]
        for _ in x:
            for number in range(ADDITIONS):
                self.total = number + 1
        return {"scores": np.concatenate([x, np.full((len(x), 1), 0.5, np.float32)], axis=1)}
