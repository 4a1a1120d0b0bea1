"""Bodies that are almost right, JSON and binary, over every route that reads one, against two real processes.

No body may be answered with 500 or more, but with 501 where a feature is named, and no process may die or log an error.
Good requests in between get their right answers, even if they shared a batch with a bad one. `make fuzz` sends 20,000 of
each kind and watches the memory; `FUZZ_SEED` sets another seed.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import count, islice
from typing import Any

import pytest
import pytest_asyncio

from tests.fuzz.answers import Outcomes
from tests.fuzz.bodies import BINARY, CALLS, SETTINGS, Bodies
from tests.fuzz.servers import PARTS, WARM_UP, Level, Servers, running_servers
from tests.gateway.raw import Answer, Raw, request
from tests.long_runs import part_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

BODIES = part_of(20_000, 20)
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CONNECTIONS = 16
GOOD_EVERY = 10
GOOD = [
    *[request("POST", path, json.dumps(body).encode()) for path, body in CALLS],
    *[one.whole() for one in BINARY],
]
LEVEL = request("POST", "/v2/logging", b'{"log_info": true}')  # other requests may have changed it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with running_servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


KINDS: dict[str, Callable[[Bodies], bytes]] = {
    "calls": lambda bodies: bodies.of_json(CALLS),
    "settings": lambda bodies: bodies.of_json(SETTINGS),
    "binary": lambda bodies: bodies.of_binary(),
    "paths": lambda bodies: bodies.of_path(),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_bodies_of_all_kinds(servers: Servers, kind: str) -> None:
    port, bodies, outcomes, level = servers.gateway.process.port, Bodies(SEED), Outcomes(), Level(servers)
    async with Raw(port) as raw:
        expected = [await raw.ask_again(sent) for sent in GOOD]
    assert [answer.status for answer in expected] == [200] * len(GOOD)
    numbers = count()

    async def work(some: list[int]) -> None:
        async with AsyncExitStack() as stack:
            raw = await stack.enter_async_context(Raw(port))
            for number in some:
                sent = KINDS[kind](bodies)
                await raw.send(sent)
                answer = await raw.read(60)
                judge(sent, answer, outcomes)
                if answer.headers.get("connection") == "close":
                    raw = await stack.enter_async_context(Raw(port))
                if number % GOOD_EVERY == 0:
                    index = number // GOOD_EVERY % len(GOOD)
                    answer = await raw.ask_again(GOOD[index])
                    if not same(answer, expected[index]):
                        outcomes.wrong_value(answer, GOOD[index])
                    await raw.ask_again(LEVEL)

    for _ in range(WARM_UP + PARTS):
        each = BODIES // PARTS // CONNECTIONS
        await asyncio.gather(*[work(list(islice(numbers, each))) for _ in range(CONNECTIONS)])
        level.look()
    print(f"\n{kind}:", end=" ")
    outcomes.check()
    level.check()
    servers.check_logs()
    assert outcomes.statuses["400"] + outcomes.statuses["404"] > outcomes.statuses.total() // 10
    assert outcomes.statuses["200"]


def judge(sent: bytes, answer: Answer, outcomes: Outcomes) -> None:
    """Hold an answer against what may come."""
    if answer.status not in (200, 307):  # "/" leads to a page
        found = answer.json
        if sent.startswith(b"POST /predict "):
            assert (found["class_id"], found["confidence"]) == (-1, 0)
        else:
            assert found.keys() == {"error"}
        error = found["error"]  # OpenAI's clients get an object
        outcomes.refused(str(answer.status), error["message"] if isinstance(error, dict) else error, sent)
        return
    outcomes.answered(str(answer.status))
    if sent.startswith(b"POST /predict ") and answer.json["error"]:
        outcomes.wrong_value(answer, sent)
    for event in (
        answer.body.split(b"\n\n") if "event-stream" in answer.headers.get("content-type", "") else []
    ):
        if event.startswith(b'data: {"error"'):
            outcomes.refused("error in a stream", json.loads(event[6:])["error"], sent)


def same(answer: Answer, expected: Answer) -> bool:
    """Whether an answer is the one that came before; a batch's sums may differ from a single row's in their last bits."""
    if answer.body == expected.body:
        return True
    return answer.status == expected.status and near(answer.json, expected.json)


def near(found: Any, expected: Any) -> bool:
    """Equal, but for the last bits of floats."""
    if isinstance(expected, float):
        return isinstance(found, (int, float)) and abs(found - expected) < 2e-6
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(near(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(near, found, expected))
    return bool(found == expected)
