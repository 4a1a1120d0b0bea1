"""The requests in each server's format, and the checks of their answers.

The right answer is known without a model: that of `three` follows from its weights, the digits are held-out data of the
model's tests, and a picture is made from its means.
"""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPMessage

import numpy as np

from bench.paths import ROOT

HELD_OUT = ROOT / "tests" / "inference" / "models" / "digits_held_out.csv"
JSON = {"content-type": "application/json"}
BINARY = "inference-header-content-length"
Right = Callable[[bytes, "HTTPMessage"], bool]
Ask = Callable[[str], list["Question"]]


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and whether an answer's body and headers are right."""

    path: str
    body: bytes
    right: Right
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


@dataclass(frozen=True, slots=True)
class Case:
    """One row as float32, and what its answer must hold: the index of the largest number, or the numbers."""

    row: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    best: int = -1
    numbers: Sequence[float] = ()

    def holds(self, numbers: Sequence[float]) -> bool:
        """Whether an answer's numbers are those."""
        if self.numbers:
            return len(numbers) == len(self.numbers) and np.allclose(numbers, self.numbers, atol=1e-3)
        return len(numbers) > 1 and int(np.argmax(numbers)) == self.best


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the bench: its input and the shape of a row, its output and the numbers in it, and its questions."""

    source: str
    shape: tuple[int, ...]
    output: str
    width: int
    largest_batch: int
    cases: Callable[[], list[Case]]


def three() -> list[Case]:
    """Three numbers whose largest is the class; 3 where none is above 0.5."""
    rows = [([2.0, 1.0, 0.25], 0), ([0.5, 3.0, 1.0], 1), ([-1.0, 1.5, 2.25], 2), ([0.0, 0.125, -2.0], 3)]
    return [Case(np.array(row, np.float32), best) for row, best in rows]


def digits() -> list[Case]:
    """Scans that the model was not trained on, starting after the one that it misreads."""
    with HELD_OUT.open(newline="") as lines:
        rows = [[float(value) for value in row] for row in csv.reader(lines) if row[0][0].isdigit()]
    return [Case(np.array(row[:-1], np.float32), int(row[-1])) for row in rows[8:16]]


@cache
def image() -> list[Case]:
    """One picture of 3x224x224 numbers with four decimals, as a client writes them that has scaled bytes to 0..1."""
    picture = np.random.default_rng(0).random((3, 224, 224)).round(4).astype(np.float32)
    return [Case(picture, numbers=picture.mean(axis=(1, 2), dtype=np.float64).tolist())]


MODELS = {
    "three": Model("x", (3,), "scores", 4, 64, three),
    "digits": Model("input", (64,), "probabilities", 10, 64, digits),
    "image": Model("x", (3, 224, 224), "means", 3, 8, image),
}


def numbers_of(case: Case) -> list[float]:
    """A row as it is written in JSON, flat, with the digits that it has."""
    return [round(float(value), 4) for value in case.row.ravel()]


def predict(model: str, name: str = "") -> list[Question]:
    """`POST /predict` with model_name and features; class_id comes back. Another model may answer as this one does."""

    def question(case: Case) -> Question:
        body = {"model_name": name or model, "features": numbers_of(case)}
        return Question(
            "/predict", encoded(body), lambda answer, _: json.loads(answer)["class_id"] == case.best
        )

    return [question(case) for case in MODELS[model].cases()]


def picture(model: str) -> list[Question]:
    """`POST /image` with the numbers; the means come back."""

    def question(case: Case) -> Question:
        body = encoded({"data": numbers_of(case)})
        return Question("/image", body, lambda answer, _: case.holds(json.loads(answer)["means"]))

    return [question(case) for case in MODELS[model].cases()]


def picture_bytes(model: str) -> list[Question]:
    """`POST /image-bytes` with raw float32; raw means come back."""

    def question(case: Case) -> Question:
        headers = {"content-type": "application/octet-stream"}
        return Question(
            "/image-bytes", case.row.tobytes(), lambda answer, _: case.holds(floats(answer)), headers
        )

    return [question(case) for case in MODELS[model].cases()]


def v2(model: str) -> list[Question]:
    """The Open Inference Protocol, tensors as JSON."""
    names = MODELS[model]

    def question(case: Case) -> Question:
        tensor = {
            "name": names.source,
            "shape": [1, *case.row.shape],
            "datatype": "FP32",
            "data": numbers_of(case),
        }
        body = encoded({"inputs": [tensor]})
        return Question(
            f"/v2/models/{model}/infer",
            body,
            lambda answer, _: case.holds(json.loads(answer)["outputs"][0]["data"]),
        )

    return [question(case) for case in names.cases()]


def v2_binary(model: str) -> list[Question]:
    """The same with its binary extension, both ways."""
    names = MODELS[model]

    def question(case: Case) -> Question:
        size = {"binary_data_size": case.row.nbytes}
        tensor = {"name": names.source, "shape": [1, *case.row.shape], "datatype": "FP32", "parameters": size}
        head = encoded({"inputs": [tensor], "parameters": {"binary_data_output": True}})
        headers = {
            "content-type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }

        def right(answer: bytes, headers: HTTPMessage) -> bool:
            return case.holds(floats(answer[int(headers[BINARY]) :]))

        return Question(f"/v2/models/{model}/infer", head + case.row.tobytes(), right, headers)

    return [question(case) for case in names.cases()]


def anything(model: str) -> list[Question]:
    """The requests of `POST /predict`, for a server that does not read them."""
    return [
        Question("/predict", question.body, lambda answer, _: b"class_id" in answer)
        for question in predict(model)
    ]


def encoded(body: object) -> bytes:
    """JSON without spaces."""
    return json.dumps(body, separators=(",", ":")).encode()


def floats(data: bytes) -> list[float]:
    """Raw float32 numbers."""
    return list(struct.unpack(f"<{len(data) // 4}f", data))
