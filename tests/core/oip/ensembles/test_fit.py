"""Whether the steps of an ensemble fit together."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from inferencehub.core.oip.ensembles.fit import misfit
from inferencehub.core.oip.ensembles.steps import Step
from inferencehub.core.values.signature import Signature, TensorSpec

X, Y = TensorSpec("x", "FP32", (-1, 3)), TensorSpec("y", "FP32", (-1, 3))
ENSEMBLE = Signature((X,), (Y,), 8)
STEPS = (
    Step(1, "a", "", (("in", "x"),), (("out", "between"),)),
    Step(2, "b", "", (("in", "between"),), (("out", "y"),)),
)


def model(
    dtype: str = "FP32", shape: tuple[int, ...] = (-1, 3), rows: int = 8, out: str = "FP32"
) -> Signature:
    """A model with one input and one output."""
    return Signature((TensorSpec("in", dtype, shape),), (TensorSpec("out", out, (-1, 3)),), rows)


FITS: Mapping[str, Signature | str | None] = {"a": model(), "b": model()}


def told(models: Mapping[str, Signature | str | None], ensemble: Signature = ENSEMBLE) -> str:
    """What is wrong with the two steps over these models."""
    found = {name: [one] if isinstance(one, Signature) else one for name, one in models.items()}
    return misfit(STEPS, ensemble, lambda step: found[step.model])


def test_steps_that_fit() -> None:
    assert told(FITS) == ""
    assert told({"a": model(), "b": model(shape=(-1, -1), rows=16)}) == ""
    assert told({"a": model(), "b": None}) == "", "nothing is known of it yet"
    anything = Signature((TensorSpec("in", "FP32", (), any_shape=True),), model().outputs)
    assert told({"a": anything, "b": model()}) == ""


def test_one_of_several_signatures_must_fit() -> None:
    other, fits = model(shape=(-1, 4)), model()
    assert misfit(STEPS, ENSEMBLE, lambda step: [other, fits]) == ""
    wrong = misfit(STEPS, ENSEMBLE, lambda step: [other, model("INT32")])
    assert wrong.startswith("step 1 (model 'a'): its input 'in' is FP32 [-1, 4]")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"a": "it is loading"}, "step 1 (model 'a'): it is loading"),
        (
            {"a": model(dtype="INT32")},
            "step 1 (model 'a'): its input 'in' is INT32 [-1, 3], and the tensor 'x' FP32 [-1, 3]",
        ),
        (
            {"b": model(shape=(-1, 4))},
            "step 2 (model 'b'): its input 'in' is FP32 [-1, 4], and the tensor 'between' FP32 [-1, 3]",
        ),
        (
            {"b": model(shape=(-1, 3, 1))},
            "step 2 (model 'b'): its input 'in' is FP32 [-1, 3, 1], and the tensor 'between' FP32 [-1, 3]",
        ),
        (
            {"b": model(out="FP64")},
            "the ensemble's output 'y' is FP32 [-1, 3], and a step makes FP64 [-1, 3]",
        ),
        ({"a": model(rows=4)}, "step 1 (model 'a'): the model takes 4 rows, and the ensemble 8"),
        (
            {"a": Signature(model().inputs, model().outputs, 8, decoupled=True)},
            "step 1 (model 'a'): the model gives several answers, and a step gives one",
        ),
        (
            {"a": Signature((*model().inputs, TensorSpec("more", "FP32", (-1, 3))), model().outputs, 8)},
            "step 1 (model 'a'): its input 'more' is in no input_map",
        ),
        (
            {"a": Signature((X,), model().outputs, 8)},
            "step 1 (model 'a'): the model has no input 'in', expected one of 'x'",
        ),
        (
            {"b": Signature(model().inputs, (X,), 8)},
            "step 2 (model 'b'): the model has no output 'out', expected one of 'x'",
        ),
    ],
)
def test_what_does_not_fit_is_said(changed: Mapping[str, Signature | str], sentence: str) -> None:
    assert told({**FITS, **changed}) == sentence


def test_what_callers_may_leave_out_feeds_only_what_may_be_left_out() -> None:
    may_lack = Signature((TensorSpec("x", "FP32", (-1, 3), optional=True),), (Y,), 8)
    sentence = "step 1 (model 'a'): its input 'in' is needed, and callers may leave 'x' out"
    assert told(FITS, may_lack) == sentence
    optional = Signature((TensorSpec("in", "FP32", (-1, 3), optional=True),), model().outputs, 8)
    assert told({"a": optional, "b": model()}, may_lack) == ""
