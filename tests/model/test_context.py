"""The context of a call: what `progress` tells and how often, and the time that is left."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from inferencehub.model.calls import ModelCall
from inferencehub.model.context import MANY, Context


class NoCalls:
    """No other models."""

    async def call(self, call: ModelCall) -> dict[str, Any]:
        raise AssertionError(call)

    def call_sync(self, call: ModelCall) -> dict[str, Any]:
        raise AssertionError(call)


def context_of(deadline: float, tell: Callable[[float], None] | None = None) -> Context:
    return Context("id", "", "", deadline, {}, lambda: False, NoCalls(), tell)


def told(*values: Any) -> list[float]:
    """What is told of these values."""
    came: list[float] = []
    context = context_of(0.0, came.append)
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
        context_of(0.0).progress(value)  # also where nobody asks


def test_what_remains_is_the_time_to_the_deadline_and_never_negative() -> None:
    assert 50 < context_of(monotonic() + 60).remaining <= 60
    assert not context_of(monotonic() + 60).cancelled
    assert context_of(monotonic() - 1).remaining == 0.0
    assert context_of(monotonic() - 1).cancelled
