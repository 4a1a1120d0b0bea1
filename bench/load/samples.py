"""The requests for each model, and their right answers.

Where possible, the right class is known without the model: the digits are held-out data of its tests, and the class of
`three` follows from its weights. The right confidence is that of the same request, sent alone before the load begins.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence

from bench.load.connection import Sample, ask, http
from bench.paths import ROOT

HELD_OUT = ROOT / "tests" / "inference" / "models" / "digits_held_out.csv"
ANY = -1  # the class that the request gets alone is right
Question = tuple[list[float], int]


def three() -> list[Question]:
    """Three numbers whose largest is the class; 3 where none is above 0.5."""
    return [([2.0, 1.0, 0.25], 0), ([0.5, 3.0, 1.0], 1), ([-1.0, 1.5, 2.25], 2), ([0.0, 0.125, -2.0], 3)]


def digits() -> list[Question]:
    """Scans that the model was not trained on, starting after the one that it misreads."""
    with HELD_OUT.open(newline="") as lines:
        rows = [[float(value) for value in row] for row in csv.reader(lines) if row[0][0].isdigit()]
    return [(row[:-1], int(row[-1])) for row in rows[8:16]]


def mock() -> list[Question]:
    """Numbers of any count, whose class is drawn by their hash."""
    return [([0.5, 1.0, float(index)], ANY) for index in range(4)]


QUESTIONS = {"three": three, "digits": digits}


async def samples_of(host: str, port: int, model: str) -> Sequence[Sample]:
    """The model's samples, each asked alone.

    Raises:
        SystemExit: where an answer is wrong.
    """
    samples = []
    for features, right in QUESTIONS.get(model, mock)():
        body = {"model_name": model, "features": features}
        status, content = await ask(host, port, "POST", "/predict", body)
        answer = json.loads(content)
        if status != 200 or right not in (ANY, answer["class_id"]):
            raise SystemExit(
                f"model '{model}' answers {status} {answer} to {features}, expected class {right}"
            )
        samples.append(Sample(http("POST", "/predict", body), answer["class_id"], answer["confidence"]))
    return samples
