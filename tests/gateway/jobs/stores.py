"""What tests of stores ask them."""

from __future__ import annotations

from typing import Any

import pytest

from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.jobs.record import Claim, NewJob, Place, Result
from inferencehub.gateway.jobs.store import Store
from inferencehub.gateway.jobs.submit import new_id

LEASE_S = 30.0
DONE = Result(200, b"content-type: text/plain\r\n", b"yes")
MOST = 50  # jobs
FILES_BYTES = 100_000


def job(id: str = "", **fields: Any) -> NewJob:
    """A job of the model m, at time 0."""
    usual = {
        "owner": "a",
        "caller": "",
        "tenant": "",
        "model": "m",
        "version": "",
        "rows": 1,
        "request": b"r",
        "key": "",
        "digest": "",
        "priority": 4,
        "weight": 1.0,
        "created": 0.0,
        "not_before": 0.0,
        "keep_s": 100.0,
    }
    return NewJob(id=id or new_id(), **{**usual, **fields})


async def claim(
    store: Store, most: int = 1, now: float = 0.0, lane: str = "m", once: bool = False
) -> list[Claim]:
    return await store.claim({lane: Place(most, once)}, LEASE_S, now)


async def refused(coroutine: Any) -> Kind:
    with pytest.raises(HubError) as caught:
        await coroutine
    return caught.value.kind


async def states(store: Store, owner: str = "a") -> dict[str, str]:
    return {one.id: one.state.value for one in await store.listed(owner, "", "", 100, "")}
