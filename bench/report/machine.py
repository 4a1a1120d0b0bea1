"""The machine and versions that figures were measured on; every JSON file with figures contains them."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from inferencehub import __version__

LIBRARIES = (
    "grpcio", "httptools", "msgspec", "numpy", "onnxruntime", "protobuf", "starlette", "uvicorn", "uvloop",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Date, machine, load of the machine before the start, and versions."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "load_average": [round(value, 2) for value in os.getloadavg()],
        },
        "versions": {
            "inferencehub": __version__,
            "python": platform.python_version(),
            **{name: installed(name) for name in LIBRARIES},
        },
    }


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def installed(name: str) -> str:
    """A library's version; "" where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
