"""The digits model of the repository: its inputs and outputs, and that it reads digits it was not trained on.

`digits_held_out.csv` comes from `models/digits/train.py --held-out`: each line has 64 pixels and the digit.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

MODEL = Path(__file__).parents[3] / "models" / "digits" / "1" / "model.onnx"
HELD_OUT = np.loadtxt(Path(__file__).with_name("digits_held_out.csv"), delimiter=",", dtype=np.float32)
PIXELS, DIGITS = HELD_OUT[:, :64], HELD_OUT[:, 64].astype(np.int64)


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])


def probabilities(session: onnxruntime.InferenceSession, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(session.run(None, {"input": pixels})[0], dtype=np.float32)


def test_names_types_and_shapes(session: onnxruntime.InferenceSession) -> None:
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("input", "tensor(float)", ["batch", 64])
    assert (answer.name, answer.type, answer.shape) == ("probabilities", "tensor(float)", ["batch", 10])


def test_held_out_digits_are_read(session: onnxruntime.InferenceSession) -> None:
    assert PIXELS.shape == (20, 64)
    assert PIXELS.max() == 16
    right = probabilities(session, PIXELS).argmax(axis=1) == DIGITS
    assert right.sum() >= 19


def test_probabilities_sum_to_one(session: onnxruntime.InferenceSession) -> None:
    rows = probabilities(session, PIXELS)
    assert rows.shape == (20, 10)
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)


def test_a_row_alone_gets_the_answer_it_gets_in_a_batch(session: onnxruntime.InferenceSession) -> None:
    alone = np.concatenate([probabilities(session, row[np.newaxis]) for row in PIXELS])
    np.testing.assert_allclose(alone, probabilities(session, PIXELS), atol=1e-6)


def test_the_file_is_small() -> None:
    assert MODEL.stat().st_size < 200_000
