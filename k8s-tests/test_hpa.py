"""An autoscaler on CPU adds pods to a model that computes and takes them away after the load, and no caller notices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from cluster import CHART, Release, release
from demo.watch import Phase, watch

VALUES = CHART / "ci" / "burn-values.yaml"
# A pod does about 13 a second.
LOAD = (Phase(1, 5), Phase(24, 75))


@pytest.fixture
def hub() -> Iterator[Release]:
    values = yaml.safe_load(VALUES.read_text())
    values["gateway"] = {
        "service": {"type": "NodePort"},
        "extraEnv": [{"name": "HUB_QUEUE_LENGTH", "value": "1000"}],
    }
    with release(values, "hub-hpa") as hub:
        yield hub


@pytest.mark.long
async def test_pods_follow_the_load_up_and_down(hub: Release, figure: Any) -> None:
    seen = await watch(hub, LOAD, model="burn")
    figure(seen.summary)
    assert seen.summary.good, seen.why
