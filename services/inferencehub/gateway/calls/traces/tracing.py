"""The traces of a gateway, from its settings to the collector."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from socket import gethostname
from typing import TYPE_CHECKING

from inferencehub import __version__
from inferencehub.core.files.watched import BadFile
from inferencehub.core.traces.settings import TraceSettings, pairs
from inferencehub.gateway.calls.traces.ended import CallTraces

if TYPE_CHECKING:
    from inferencehub.core.traces.exporter import Exporter

SERVICE = "inferencehub-gateway"
# Attributes of the gateway's process that are none of its pods'.
OWN = ("service.name", "service.instance.id", "service.version", "k8s.", "host.", "container.", "process.")
END_S = 5.0  # how long a process waits at its end until a collector has taken what waits


class Tracing:
    """See the module's text. Without a URL of a collector it does nothing, and loads no library.

    Args:
        settings: where traces go.
        counts: gets the number of calls by what became of their spans.

    `traces` is None where there are no traces.

    Raises:
        BadFile: if the file of authorities can't be used.
    """

    def __init__(self, settings: TraceSettings, counts: Counter[str]) -> None:
        self._settings = settings
        self._exporter: Exporter | None = None
        self._route_of: Callable[[str], str] = lambda path: ""
        self.traces: CallTraces | None = None
        if settings.traces_url:
            self._exporter = exporter = self._make(counts)
            slow_s = settings.trace_slow_ms / 1000 or float("inf")
            self.traces = CallTraces(settings.sampler(), exporter.put, slow_s)

    def _make(self, counts: Counter[str]) -> Exporter:
        from inferencehub.core.traces.exporter import Exporter
        from inferencehub.core.traces.post import Post
        from inferencehub.gateway.calls.traces.spans import Spans

        settings = self._settings
        told = pairs("OTEL_RESOURCE_ATTRIBUTES", settings.resource_attributes)
        process = {
            "service.name": settings.service_name or SERVICE,
            "service.version": __version__,
            "service.instance.id": gethostname(),
            "telemetry.sdk.name": "inferencehub",
            "telemetry.sdk.language": "python",
            **told,
        }
        if settings.service_name:  # it comes before the attribute
            process["service.name"] = settings.service_name
        shared = {name: value for name, value in told.items() if not name.startswith(OWN)}
        spans = Spans(tuple(process.items()), tuple(shared.items()), lambda path: self._route_of(path))
        try:
            post = Post(
                settings.traces_url,
                settings.headers(),
                settings.otlp_timeout_ms / 1000,
                settings.otlp_certificate,
                settings.otlp_compression == "gzip",
            )
        except (OSError, ssl.SSLError) as error:
            raise BadFile(f"OTEL_EXPORTER_OTLP_CERTIFICATE: {error}") from None
        return Exporter(
            spans,
            post,
            settings.bsp_max_queue_size,
            settings.bsp_max_export_batch_size,
            settings.bsp_schedule_delay_ms / 1000,
            settings.bsp_export_timeout_ms / 1000,
            counts,
        )

    def start(self, route_of: Callable[[str], str]) -> None:
        """Send traces from now on.

        Args:
            route_of: the route of an HTTP path; "" if it has none.
        """
        self._route_of = route_of
        if self._exporter is not None:
            self._exporter.start()

    async def stop(self) -> None:
        """Send what waits; for that, wait at most `END_S` seconds."""
        if self._exporter is not None:
            await asyncio.to_thread(self._exporter.close, END_S)
