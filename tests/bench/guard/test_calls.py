"""Tiers that count their calls serve as usual, and each counts only the work for its own requests."""

from __future__ import annotations

import pytest

from bench.guard.calls import Calls, asked, counting_tiers, counts, middle

pytestmark = pytest.mark.long


def test_both_tiers_count_while_they_answer() -> None:
    with counting_tiers() as (port, files):
        before = counts(files)
        asked(port, 1, 50)
        used = [now - then for now, then in zip(counts(files), before, strict=True)]
    assert [file.name for file in files] == ["gateway", "inference"]
    assert all(calls > 50 * 100 for calls in used)  # a request makes some 300 in each with one client


def test_the_middle_round_counts_in_each_tier() -> None:
    rounds = [Calls(320.0, 280.0), Calls(300.0, 290.0), Calls(310.0, 500.0)]
    assert middle(rounds) == Calls(310.0, 290.0)
    assert middle(rounds).both == 600.0
