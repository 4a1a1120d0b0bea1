"""A repository of models for pods that load what they are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub import mock_model
from tests.inference.models.control.valued import valued


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with the model m, which answers 1, and another one."""
    valued(tmp_path / "models", {"1": "1"})
    mock_model(tmp_path / "models", "quick")
    return tmp_path / "models"
