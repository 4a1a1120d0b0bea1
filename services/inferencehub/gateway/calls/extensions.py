"""What the gateway can do beyond the protocol's core. Every front announces the same."""

from __future__ import annotations

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "generate",
    "logging",
    "model_configuration",
    "parameters",
    "statistics",
)
REPOSITORY = ("model_repository", "model_repository(unload_dependents)")  # where calls load models


def announced(loads: bool) -> tuple[str, ...]:
    """What a gateway announces; `loads` is whether calls to it load models."""
    return EXTENSIONS + REPOSITORY if loads else EXTENSIONS
