"""What the metrics of every tier share: buckets, and the families that each process has."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector

from inferencehub import __version__

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def new_registry(prefix: str) -> CollectorRegistry:
    """A registry with the process's own metrics and `<prefix>_build_info`."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge(f"{prefix}_build_info", "version of the service", ("version",), registry=registry)
    build.labels(__version__).set(1)
    return registry
