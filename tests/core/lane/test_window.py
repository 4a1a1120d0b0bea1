"""Credits of one call, gathered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.lane.sink import WINDOW, Window, weight_of


def test_small_credits_go_together() -> None:
    sent: list[int] = []
    window = Window(sent.append)
    for _ in range(1000):
        window.credit(weight_of(4))
    assert all(WINDOW // 2 <= size < WINDOW // 2 + weight_of(4) for size in sent)
    assert 1000 * weight_of(4) - sum(sent) < WINDOW // 2


@given(st.lists(st.integers(0, 3 * WINDOW)))
def test_a_model_whose_answers_were_all_delivered_may_always_give_another(sizes: list[int]) -> None:
    left = WINDOW

    def credit(size: int) -> None:
        nonlocal left
        left += size

    window = Window(credit)
    for size in sizes:
        assert left > 0
        left -= weight_of(size)
        window.credit(weight_of(size))
    assert 0 < left <= WINDOW
