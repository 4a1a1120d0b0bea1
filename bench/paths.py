"""Paths of the benchmarks: where they find their inputs and keep their results."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "bench" / "peers"
REQUIREMENTS = PEERS / "requirements"
MODELS = ROOT / "bench" / "models"
KEPT = ROOT / "build" / "bench"
# A program that runs Triton: REPOSITORY HTTP_PORT GRPC_PORT [options]; it finds its packages in $TRITON_CACHE.
TRITON = os.environ.get("TRITON_SERVER", "")
