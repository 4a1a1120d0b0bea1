"""A check of the event loop, for tests of a lane."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.core.lane.slots import no_stray_errors


@pytest.fixture
async def errors_are_read() -> AsyncIterator[None]:
    """Fails where the loop had to report an error that nobody read."""
    async with no_stray_errors():
        yield
