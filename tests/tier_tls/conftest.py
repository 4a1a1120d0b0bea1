"""A model, an authority, and certificates of it for both tiers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.authority import Authority
from tests.hub import mock_model
from tests.tier_tls.secure_tiers import Secrets


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """One quick model."""
    mock_model(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def secrets(tmp_path: Path, authority: Authority) -> Secrets:
    return Secrets(tmp_path, authority)
