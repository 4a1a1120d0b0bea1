"""Where the bench finds things, and where it keeps what it makes."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "bench" / "peers"
MODELS = ROOT / "bench" / "models"
KEPT = ROOT / "build" / "bench"
TRITON = ROOT.parent / "shared" / "triton" / "run"
