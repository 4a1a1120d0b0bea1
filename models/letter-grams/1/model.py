"""Hashed groups of letters as an embedding: texts with many groups in common are near each other."""

import re
from pathlib import Path
from zlib import crc32

import numpy as np

Arrays = dict[str, np.ndarray]

SIZE = 256
GROUPS = (3, 4, 5)  # letters of a group


class Model:
    """One instance of the model."""

    def __init__(self, directory: Path, parameters: dict[str, str]) -> None:
        pass

    def predict(self, inputs: Arrays) -> Arrays:
        """input [rows, 1], texts -> embedding [rows, 256], each row of length 1."""
        return {"embedding": np.stack([vector(text.decode()) for text in inputs["input"][:, 0]])}


def vector(text: str) -> np.ndarray:
    """Each group of letters in a word, with spaces around the word, adds 1 or -1 at a place that its hash chooses."""
    found = np.zeros(SIZE, np.float32)
    for word in re.findall(r"\w+", text.lower()):
        spaced = f" {word} "
        for size in GROUPS:
            for start in range(max(1, len(spaced) - size + 1)):
                code = crc32(spaced[start : start + size].encode())
                found[code % SIZE] += 1 if code & 0x80000000 else -1
    length = np.linalg.norm(found)
    return found / length if length else found
