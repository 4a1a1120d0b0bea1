"""An issuer whose keys are made once: those of RSA take a while."""

from __future__ import annotations

import pytest

from tests.issuer import Issuer


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """Signs tokens."""
    return Issuer()
