"""What a model's `context.progress` tells, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from inferencehub.core.values.requests import NO_CALLERS
from inferencehub.inference.runtimes.python.context import MANY, Context


def told(*values: Any) -> list[float]:
    """What is told of these values."""
    came: list[float] = []
    context = Context(NO_CALLERS, 0.0, {}, lambda: False, came.append)
    for value in values:
        context.progress(value)
    return came


def test_small_steps_are_left_out_but_the_last() -> None:
    assert told(0.0, 0.005, 0.01, 0.5, 0.505, 0.995, 0.999, 1.0, 1) == [0.0, 0.01, 0.5, 0.995, 1.0]
    assert told(*[number / 100_000 for number in range(100_001)])[-1] == 1.0
    assert len(told(*[number / 100_000 for number in range(100_001)])) <= 102


def test_a_model_that_tells_too_often_is_heard_less() -> None:
    assert len(told(*[number % 2 for number in range(10_000)])) <= MANY + 10


def test_what_is_beyond_is_taken_for_the_nearer_one() -> None:
    assert told(-3, 1.0000001, True) == [0.0, 1.0]


@pytest.mark.parametrize("value", ["x", "", float("nan"), None, [1, 2]])
def test_what_is_no_number_is_an_error_and_not_the_callers(value: Any) -> None:
    with pytest.raises(TypeError):
        told(value)
    with pytest.raises(TypeError):
        Context(NO_CALLERS, 0.0, {}, lambda: False).progress(value)  # also where nobody asks
