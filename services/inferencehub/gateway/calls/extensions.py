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
