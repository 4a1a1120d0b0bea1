"""Choosing a version: each gets its share, the same value always the same one, and few move when weights change."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.gateway.routing.traffic.choice import by_chance, by_value

VALUES = [b"user-%d" % number for number in range(20_000)]
WEIGHTS = [
    {"1": 90.0, "2": 10.0},
    {"1": 1.0},
    {"a": 0.5, "b": 0.25, "c": 0.25},
    {"1": 1e6, "2": 1e6, "3": 1.0},
]


def within(found: int, share: float, of: int) -> bool:
    """Whether so many fit a share, by five standard deviations: a right one fails once in a million runs."""
    return abs(found - share * of) <= 5 * sqrt(of * share * (1 - share)) + 1e-9


@pytest.mark.parametrize("weights", WEIGHTS)
def test_each_version_gets_its_share(weights: dict[str, float]) -> None:
    drawn = Counter(by_chance(weights) for _ in VALUES)
    chosen = Counter(by_value(weights, "m", value) for value in VALUES)
    for version, weight in weights.items():
        share = weight / sum(weights.values())
        assert within(drawn[version], share, len(VALUES))
        assert within(chosen[version], share, len(VALUES))


def moved(before: dict[str, float], after: dict[str, float]) -> Counter[tuple[str, str]]:
    """How many values get another version, by both."""
    pairs = ((by_value(before, "m", value), by_value(after, "m", value)) for value in VALUES)
    return Counter(pair for pair in pairs if pair[0] != pair[1])


def test_as_few_values_as_possible_move() -> None:
    grown = moved({"1": 90, "2": 10}, {"1": 80, "2": 20})
    assert grown.keys() == {("1", "2")}
    assert within(grown["1", "2"], 0.1, len(VALUES))
    added = moved({"1": 90, "2": 10}, {"1": 90, "2": 10, "3": 50})
    assert {after for _, after in added} == {"3"}
    gone = moved({"1": 60, "2": 10, "3": 30}, {"1": 60, "3": 30})
    assert {before for before, _ in gone} == {"2"}


def test_the_scale_of_weights_and_their_order_mean_nothing() -> None:
    assert not moved({"1": 9, "2": 1}, {"2": 0.1, "1": 0.9})


def test_two_models_choose_apart() -> None:
    both = [
        by_value({"1": 1, "2": 1}, "m", value) == by_value({"1": 1, "2": 1}, "n", value) for value in VALUES
    ]
    assert within(sum(both), 0.5, len(both))


# Gateways of several releases stand side by side in a rollout: what they choose may not change.
def test_a_choice_is_the_same_in_all_releases() -> None:
    chosen = "".join(by_value({"1": 1, "2": 1, "3": 1}, "fraud", b"%d" % number) for number in range(40))
    assert chosen == EXPECTED


EXPECTED = "1233223112213323221231232221333131233132"


@given(st.dictionaries(st.text(min_size=1), st.floats(1e-3, 1e6), min_size=1, max_size=5), st.binary())
def test_any_value_gets_a_version_that_is_there(weights: dict[str, float], value: bytes) -> None:
    assert by_value(weights, "m", value) in weights
    assert by_chance(weights) in weights
