"""Shapes with one core and with two: which process runs on which core."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import pytest

from bench.load.questions import predict
from bench.servers.processes import can_pin
from bench.servers.shapes import DIRECT, ONE, TWO, WIDE, started

pytestmark = pytest.mark.long


@pytest.mark.skipif(not can_pin(), reason="needs two cores")
def test_each_pair_keeps_to_its_core_and_all_requests_are_counted(tmp_path: Path) -> None:
    with started(TWO, tmp_path, ["three", "loop"]) as running:
        pinned = [os.sched_getaffinity(child.pid) for child in running.group.children]
        before = running.batches("three")
        for port in running.ports:
            for question in predict("three"):
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}{question.path}", question.body, dict(question.headers)
                )
                with DIRECT.open(request, timeout=60) as answer:
                    assert "class_id" in json.loads(answer.read())
        after = running.batches("three")
    assert pinned == [{0}, {1}, {0}, {1}]
    asked = 2 * len(predict("three"))
    assert [after[tier][0] - before[tier][0] for tier in ("gateway", "inference")] == [asked, asked]


def test_two_instances_may_use_both_cores_and_the_load_stays_off_a_single_one() -> None:
    assert (WIDE.core_of(0), WIDE.instances) == ((0, 1), 2)
    assert (tuple(ONE.load), tuple(TWO.load)) == ((1,), (0, 1))
