"""The autoscaler adds pods under load and takes them away after it, and no caller notices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cluster import Release, release
from hpa_demo import Plan, values, watch

SHORT = Plan(low_s=5, high_s=60, clients=30)


@pytest.fixture
def hub() -> Iterator[Release]:
    with release(values(), "hub-hpa") as hub:
        yield hub


@pytest.mark.long
async def test_pods_follow_the_load_up_and_down(hub: Release, figure: Any) -> None:
    run = await watch(hub, SHORT)
    figure(run.summary)
    assert run.summary.first_up_s is not None
    assert run.summary.all_up_s is not None
    assert run.summary.back_s is not None
    assert run.summary.sent > SHORT.clients
    assert run.why == []
