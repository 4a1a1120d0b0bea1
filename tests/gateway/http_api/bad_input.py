"""What tests of bad input send, and what every refusal must look like."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from tests.gateway.raw import Answer, Raw
from tests.hub import Hub

PREDICT, INFER = "/predict", "/v2/models/quick/infer"
BOTH = pytest.mark.parametrize("path", [PREDICT, INFER])
MOST = 2**20
# What no caller may read: stacks, addresses, names of our classes and of our libraries.
PRIVATE = re.compile(
    r"Traceback|\.py\b|0x[0-9a-f]{6}|\d+\.\d+\.\d+\.\d+|localhost|msgspec|zlib|codec|"
    r"Error\b|Exception|\bNone\b|\bstr\b|\bdict\b|\bfloat\b|<class|object at"
)


def refused(path: str, answer: Answer, status: int, *says: str) -> None:
    """Hold an answer against the shape of errors, and its sentence against what it must say."""
    found = answer.json
    sentence = found["error"]
    assert answer.status == status, sentence
    assert found == (
        {"class_id": -1, "confidence": 0.0, "error": sentence} if path == PREDICT else {"error": sentence}
    )
    assert len(sentence) < 600
    assert not PRIVATE.search(sentence), sentence
    for part in says:
        assert part in sentence, sentence
    assert answer.headers["content-type"] == "application/json"
    assert ("retry-after" in answer.headers) is (status in (429, 503))


async def refuse(
    hub: Hub, path: str, body: bytes | object, status: int, *says: str, headers: Sequence[str] = ()
) -> None:
    """Send a body, JSON unless it is bytes, and hold the answer against `refused`."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with Raw(hub.gateway.port) as raw:
        answer = await raw.ask("POST", path, data, *headers)
    refused(path, answer, status, *says)


def tensor(
    data: object, shape: Sequence[object] = (1,), datatype: str = "FP32", name: str = "features"
) -> dict[str, Any]:
    """An inference request of one input."""
    return {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}]}


async def answers_well(hub: Hub) -> None:
    """A good request gets its answer, and no call is in flight."""
    status, answer, _ = await hub.post(PREDICT, {"features": [1]})
    assert (status, answer["error"]) == (200, "")
    assert " 0.0" in next(
        line
        for line in (await hub.metrics()).splitlines()
        if line.startswith("inferencehub_gateway_in_flight")
    )
