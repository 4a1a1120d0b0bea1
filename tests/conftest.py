"""What holds for all tests: Hypothesis without a deadline, and a log level that each test finds as it was."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# No deadline, because an example's time only shows how busy the machine is.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def level_of_the_process() -> Iterator[None]:
    """Put the level of the root logger back: callers may change it (`POST /v2/logging`), in this very process."""
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)
