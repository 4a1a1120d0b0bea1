"""What the metrics of all tiers share: bucket bounds, and the metrics that every process has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from prometheus_client import Gauge, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from inferencehub import __version__
from inferencehub.core.process.logs import AccessLog
from inferencehub.core.process.scrape.written import Registry
from inferencehub.core.tls.certificate import Certificate

# Prometheus estimates a quantile within a bucket, so it may be wrong by as much as the bucket is wide. From 0.1 to 2.5 s, where
# models take about the same time again and again, that is at most 15 %. Shorter and longer times spread more: over buckets that
# are a quarter wide, the estimate is about as good (tests/core/process/test_histogram.py).
SECONDS = (
    *(0.0005, 0.001, 0.00125, 0.0016, 0.002, 0.0025, 0.0032, 0.004, 0.005, 0.0063, 0.008),
    *(0.01, 0.0125, 0.016, 0.02, 0.025, 0.032, 0.04, 0.05, 0.063, 0.08),
    *(0.1, 0.115, 0.13, 0.15, 0.17, 0.19, 0.22, 0.25, 0.28, 0.32, 0.36),
    *(0.4, 0.45, 0.5, 0.55, 0.63, 0.72, 0.82, 0.9),
    *(1.0, 1.15, 1.3, 1.5, 1.7, 1.95, 2.2, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0),
    *(10.0, 12.5, 16.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0, 60.0),
)
# What becomes of the spans of a call: a collector has them, they found no place, or no collector took them.
TRACED = ("sent", "dropped", "failed")
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def new_registry(prefix: str) -> Registry:
    """A registry with metrics of the process and of Python, and `<prefix>_build_info`."""
    registry = Registry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge(f"{prefix}_build_info", "version of the service", ("version",), registry=registry)
    build.labels(__version__).set(1)
    return registry


class AccessLines:
    """The counter `<prefix>_access_lines_dropped`, read from the access log at each scrape."""

    def __init__(self, prefix: str, access: AccessLog | None) -> None:
        self.prefix = prefix
        self.access = access

    def collect(self) -> list[CounterMetricFamily]:
        """The counter; 0 if access lines are off."""
        dropped = self.access.writer.dropped if self.access is not None else 0
        text = "access lines that were dropped because nothing read standard output"
        return [CounterMetricFamily(f"{self.prefix}_access_lines_dropped", text, value=dropped)]


class Traffic:
    """The metrics `<prefix>_bytes`, `<prefix>_connections` and `<prefix>_streams`, read at each scrape.

    Args:
        carried: by front: returns the bytes that it has received and sent.
        connections, streams: by front: returns how many are open. A stream is one of callers that have a front to themselves.
    """

    def __init__(
        self,
        prefix: str,
        carried: Mapping[str, Callable[[], tuple[int, int]]],
        connections: Mapping[str, Callable[[], int]],
        streams: Mapping[str, Callable[[], int]],
    ) -> None:
        self.prefix = prefix
        self.carried = carried
        self.open = (("connections", connections), ("streams", streams))

    def collect(self) -> list[Metric]:
        """The metrics, by front."""
        text = "bytes that a front has received and sent"
        carried = CounterMetricFamily(f"{self.prefix}_bytes", text, labels=["front", "direction"])
        for front, reading in self.carried.items():
            for direction, size in zip(("received", "sent"), reading(), strict=True):
                carried.add_metric([front, direction], size)
        families: list[Metric] = [carried]
        for what, readings in self.open:
            family = GaugeMetricFamily(f"{self.prefix}_{what}", f"{what} that are open", labels=["front"])
            for front, count in readings.items():
                family.add_metric([front], count())
            families.append(family)
        return families


class TracedCalls:
    """The counter `<prefix>_traced_calls`, read at each scrape.

    Args:
        prefix: of its name.
        counts: calls by what became of their spans, see `TRACED`.
    """

    def __init__(self, prefix: str, counts: Mapping[str, int]) -> None:
        self._prefix = prefix
        self._counts = counts

    def collect(self) -> list[CounterMetricFamily]:
        """The counter; 0 if there are no traces."""
        text = "calls whose traces were kept, by what became of their spans"
        family = CounterMetricFamily(f"{self._prefix}_traced_calls", text, labels=["outcome"])
        for outcome in TRACED:
            family.add_metric([outcome], self._counts.get(outcome, 0))
        return [family]


class Reloaded(Protocol):
    """What is read again when it changes, such as `WatchedFiles`."""

    setting: str
    reloads: int

    @property
    def refused(self) -> bool:
        """Whether there is something that is not used."""

    @property
    def reason(self) -> str:
        """Why it is not used, as a sentence; "" if it is, or if that is not known."""


class Reloads:
    """The metrics `<prefix>_reloads` and `<prefix>_reload_refused`, read at each scrape."""

    def __init__(self, prefix: str, *reloaded: Reloaded | None) -> None:
        self.prefix = prefix
        self.reloaded = [one for one in reloaded if one is not None]

    def collect(self) -> list[Metric]:
        """The metrics, by the setting that names the files, or by the beginning of the names of several.

        `inferencehub_process_certificate_end_timestamp_seconds` is one of them.
        """
        text = "times that new contents of files were used"
        reloads = CounterMetricFamily(f"{self.prefix}_reloads", text, labels=["setting"])
        text = "1 while files hold something that is not used, because it is broken or can't be read"
        refused = GaugeMetricFamily(f"{self.prefix}_reload_refused", text, labels=["setting"])
        ends = GaugeMetricFamily(
            "inferencehub_process_certificate_end_timestamp_seconds",
            "when a certificate that the process shows ends, or the first of those that signed it, in seconds since 1970",
            labels=["setting"],
        )
        for one in self.reloaded:
            if isinstance(one, Certificate) and one.ends is not None:
                ends.add_metric([one.setting], one.ends)
            reloads.add_metric([one.setting], one.reloads)
            refused.add_metric([one.setting], one.refused)
        return [reloads, refused, ends]
