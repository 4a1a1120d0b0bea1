"""Which instance is on which device."""

from __future__ import annotations

import pytest

from inferencehub.inference.models.config import instances, parse_config
from inferencehub.inference.runtimes.support.devices import CPU, devices_of


@pytest.mark.parametrize(
    ("groups", "devices"),
    [
        ("", [CPU]),
        ("instance_group { kind: KIND_CPU count: 2 }", [CPU, CPU]),
        ("instance_group { kind: KIND_GPU }", [0]),
        ("instance_group { kind: KIND_GPU count: 2 gpus: [ 1, 0 ] } instance_group { }", [1, 1, 0, 0, CPU]),
    ],
)
def test_an_instance_is_where_its_group_is(groups: str, devices: list[int]) -> None:
    config = parse_config(groups, "m")
    assert devices_of(config) == devices
    assert instances(config) == len(devices)
