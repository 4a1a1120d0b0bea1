"""The stores that a gateway may keep jobs and quotas in: a real Valkey, and both kinds as a setting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.valkey import Valkey, running_valkey


@pytest_asyncio.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[Valkey]:
    """A Valkey of the test's own, which it may end."""
    async with running_valkey(tmp_path / "valkey") as server:
        yield server


@pytest_asyncio.fixture(params=["sqlite", "valkey"])
async def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """`HUB_JOBS` for each store."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'jobs.db'}"
        return
    async with running_valkey(tmp_path / "store") as server:
        yield server.url
