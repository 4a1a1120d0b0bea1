"""How long the garbage collector stops the process."""

from __future__ import annotations

import gc
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry

from inferencehub.core.process.histogram import Histogram

BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class CollectorPauses:
    """The histogram `inferencehub_process_gc_pause_seconds`, by the generation that was collected.

    Args:
        registry: has the histogram.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        text = "pauses of the process by Python's garbage collector, by generation"
        family = Histogram("inferencehub_process_gc_pause_seconds", text, ("generation",), BOUNDS)
        registry.register(family)
        self._pauses = [family.labels(str(number)) for number in range(3)]
        self._began = 0.0

    def start(self) -> None:
        """Measure from now on."""
        gc.callbacks.append(self._called)

    def stop(self) -> None:
        """Measure no more."""
        if self._called in gc.callbacks:
            gc.callbacks.remove(self._called)

    def _called(self, phase: str, about: dict[str, Any]) -> None:
        """Python calls this before and after a collection, in whatever thread has caused it; never two at a time."""
        if phase == "start":
            self._began = perf_counter()
        else:
            self._pauses[about["generation"]].observe(perf_counter() - self._began)
