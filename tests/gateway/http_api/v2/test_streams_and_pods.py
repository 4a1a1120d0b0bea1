"""Streams of events while a pod dies: what has begun ends with an error event, what has not begun runs elsewhere."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path

from tests.gateway.pod_processes import gateway_to, pods_of
from tests.hub import Hub, eventually, write_model

CONFIG = """backend: "python"
    model_transaction_policy { decoupled: true }
    instance_group { count: 3 }
    input { name: "first" data_type: TYPE_INT32 dims: [1] }
    output { name: "y" data_type: TYPE_INT32 dims: [1] }"""
COUNTER = """
import time

class Model:
    def __init__(self, directory, parameters):
        self.go = directory / "go"

    def predict(self, inputs):
        for number in range(5):
            yield {"y": inputs["first"] + number}
            while number == 1 and not self.go.exists():
                time.sleep(0.01)
"""


async def stream(hub: Hub, number: int, began: Counter[str]) -> tuple[str, list[int], str]:
    """The pod of a stream, its answers, and the error that ended it."""
    url = f"{hub.url}/v2/models/counter/generate_stream"
    async with hub.client.post(url, json={"first": 10 * number}) as answer:
        assert answer.status == 200
        pod = answer.headers["x-served-by"]
        began[pod] += 1
        events = [json.loads(block[6:]) for block in (await answer.text()).split("\n\n")[:-1]]
    return pod, [event["y"] for event in events if "y" in event], events[-1].get("error", "")


async def test_a_pod_that_dies_ends_the_streams_that_it_had_begun_and_no_other(tmp_path: Path) -> None:
    write_model(tmp_path, "counter", CONFIG, {"1/model.py": COUNTER})
    async with pods_of(tmp_path, tmp_path) as (one, two), gateway_to(one, two, hold_s=20) as hub:
        began: Counter[str] = Counter()
        streams = [asyncio.create_task(stream(hub, number, began)) for number in range(50)]
        await eventually(lambda: began[one.address] >= 3)
        one.send(signal.SIGKILL)
        (tmp_path / "counter" / "1" / "go").touch()
        ended = await asyncio.gather(*streams)
        cut = [(number, *found) for number, found in enumerate(ended) if found[2]]
        print(
            f"{len(cut)} of 50 streams ended with an error event, {began[one.address]} had begun at the lost pod"
        )
        assert len(cut) == 3
        for number, pod, answers, error in cut:
            assert pod == one.address
            assert answers == [10 * number, 10 * number + 1][: len(answers)]
            assert answers
            assert error == "the pod that ran model 'counter' went away before it answered"
        whole = [(number, found[1]) for number, found in enumerate(ended) if not found[2]]
        assert whole == [(number, [10 * number + n for n in range(5)]) for number, _ in whole]
