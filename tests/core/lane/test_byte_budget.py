"""The budget of bytes: what it accepts, what it refuses, and that it asks for room first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.values.errors import HubError, Kind


def refused(budget: ByteBudget, size: int) -> Kind:
    """The kind of error that taking so many raises."""
    with pytest.raises(HubError) as raised:
        budget.take(size)
    return raised.value.kind


def test_more_than_there_is_room_for_is_refused() -> None:
    budget = ByteBudget(10)
    budget.take(6)
    assert refused(budget, 5) is Kind.BUSY
    assert refused(budget, 11) is Kind.TOO_LARGE
    budget.give(6)
    budget.take(10)
    assert budget.held == 10


def test_what_is_there_already_is_counted_beyond_the_limit() -> None:
    budget = ByteBudget(10)
    budget.add(15)
    assert budget.held == 15
    assert refused(budget, 1) is Kind.BUSY


def test_room_is_made_before_anything_is_refused() -> None:
    budget, kept = ByteBudget(10), [4, 4]

    def relieve(fits: Callable[[], bool]) -> None:
        while kept and not fits():
            budget.give(kept.pop())

    budget.take(8)
    budget.relieve = relieve
    budget.take(5)
    assert (budget.held, kept) == (9, [4]), "no more is given up than is needed"
    budget.add(3)
    assert (budget.held, kept) == (8, [])
    assert refused(budget, 3) is Kind.BUSY
