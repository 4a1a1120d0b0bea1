"""Streams while a pod dies: what has begun ends with an error, what has not begun runs elsewhere, on both fronts."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.gateway.answer_streams import EndedWithAnError, ports_of, stream
from tests.gateway.pod_processes import gateway_to, pods_of
from tests.hub import Hub, eventually
from tests.several_answers import counting_model

pytestmark = pytest.mark.long

STREAMS, INSTANCES = 50, 3


async def ask(hub: Hub, front: str, number: int, steps: Path, began: set[int]) -> tuple[list[str], str]:
    """The answers of a stream, and the error that ended it."""
    texts = []
    async with stream(front, ports_of(hub), "counter", 5, prefix=f"{number}-", steps=str(steps)) as read:
        try:
            while text := await read():
                began.add(number)
                texts.append(text)
        except EndedWithAnError as error:
            assert await read() == ""
            return texts, str(error)
    return texts, ""


@pytest.mark.parametrize("front", ["events", "gateway"])
async def test_a_pod_that_dies_ends_the_streams_that_it_had_begun_and_no_other(
    tmp_path: Path, front: str
) -> None:
    counting_model(tmp_path, instances=INSTANCES)
    steps, began = tmp_path / "steps", set[int]()
    async with pods_of(tmp_path, tmp_path) as (one, two), gateway_to(one, two, hold_s=20) as hub:
        streams = [asyncio.create_task(ask(hub, front, n, steps, began)) for n in range(STREAMS)]
        await eventually(lambda: len(began) == 2 * INSTANCES)  # each has one answer, and its model waits
        one.send(signal.SIGKILL)
        steps.write_bytes(b"....")
        had_begun = set(began)
        ended = await asyncio.gather(*streams)
    cut = {number: found for number, found in enumerate(ended) if found[1]}
    whole = {number: found for number, found in enumerate(ended) if not found[1]}
    print(
        f"{front}: of {STREAMS} streams {len(had_begun)} had begun, {len(cut)} ended with an error, {len(whole)} whole"
    )
    assert len(cut) == INSTANCES
    assert set(cut) < had_begun
    lost = "the pod that ran model 'counter' went away before it answered"
    assert cut == {number: ([f"{number}-1"], lost) for number in cut}
    assert whole == {number: ([f"{number}-{n}" for n in range(1, 6)], "") for number in whole}
