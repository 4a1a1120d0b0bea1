"""Both stores, for what must hold of each: a file of SQLite, and a real Valkey that the tests of a file share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_hex

import pytest
import pytest_asyncio

from inferencehub.gateway.jobs.sqlite.store import SqliteStore
from inferencehub.gateway.jobs.store import Store
from inferencehub.gateway.jobs.valkey.store import ValkeyStore
from tests.gateway.jobs.stores import FILES_BYTES, MOST
from tests.valkey import Valkey, running_valkey


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Valkey]:
    """The Valkey, which no test may end."""
    async with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest_asyncio.fixture(params=["sqlite", "valkey"], loop_scope="module")
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, shared_valkey: Valkey
) -> AsyncIterator[Store]:
    """An empty store, with room for `MOST` jobs and `FILES_BYTES` of files."""
    made: SqliteStore | ValkeyStore
    if request.param == "sqlite":
        made = SqliteStore(str(tmp_path / "made" / "jobs.db"), MOST, FILES_BYTES)
    else:
        made = ValkeyStore(shared_valkey.url, MOST, prefix=f"{{{token_hex(4)}}}:", files_bytes=FILES_BYTES)
    await made.start()
    yield made
    await made.stop()
