"""A request that is larger than a pod takes is 413 for the caller, wherever the pod notices it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.hub import Hub, mock_model, running_hub

LIMIT = 100_000


async def ask(hub: Hub, size: int) -> tuple[int, Any]:
    """Status and body of a request with about `size` bytes of tensors."""
    values = [0.5] * (size // 4)
    tensor = {"name": "features", "datatype": "FP32", "shape": [len(values)], "data": values}
    status, body, _ = await hub.post("/v2/models/quick/infer", {"inputs": [tensor]})
    return status, body


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (LIMIT + 1_000, f"expected at most {LIMIT}"),  # a unary call, which the pod reads
        (2 * LIMIT - 1_000, f"expected at most {LIMIT}"),
        (2 * LIMIT + 1_000, "larger than the pods of model 'quick' take"),  # gRPC reads no more
    ],
)
async def test_beyond_the_limit_of_a_message(size: int, said: str, tmp_path: Path) -> None:
    mock_model(tmp_path, "quick")
    async with running_hub(tmp_path, pod={"max_message_bytes": LIMIT}) as hub:
        status, body = await ask(hub, size)
        assert (status, said in body["error"]) == (413, True), body
        status, _ = await ask(hub, LIMIT - 1_000)
        assert status == 200


async def test_beyond_the_bytes_that_a_pod_may_hold_at_all(tmp_path: Path) -> None:
    """It arrives on the stream."""
    mock_model(tmp_path, "quick")
    async with running_hub(tmp_path, pod={"queue_bytes": 1_000_000}) as hub:
        status, body = await ask(hub, 1_000_400)
        expected = {"error": "the request has 1000400 bytes, expected at most 1000000"}
        assert (status, body) == (413, expected)


async def test_a_bad_input_stays_one(tmp_path: Path) -> None:
    mock_model(tmp_path, "quick")
    async with running_hub(tmp_path) as hub:
        body = {"inputs": [], "parameters": {"headers": 1}}
        status, _, _ = await hub.post("/v2/models/quick/infer", body)
        assert status == 400
