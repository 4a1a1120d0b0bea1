"""The contract of a model: what must be equal for two pods to share a lane."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from inferencehub.core.values.signature import ModelInfo

MOST_KEPT = 4096  # descriptions whose contracts are remembered


@lru_cache(MOST_KEPT)
def contract(info: ModelInfo) -> ModelInfo:
    """The part of a model's description that must be equal for two pods to share a lane.

    This is what the gateway reads: the signature, and the parameters that say how `/predict` reads the outputs and
    whether a request may run again.
    """
    read = [
        item for item in info.parameters if item[0].startswith("predict_") or item[0] == "run_at_most_once"
    ]
    return replace(info, version="", platform="", slots=1, parameters=tuple(read))
