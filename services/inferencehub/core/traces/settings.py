"""Where traces go and which ones, by the variables that OpenTelemetry names.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from inferencehub.core.process.settings import SettingError, TierSettings, read_value, setting
from inferencehub.core.traces.sampling import SAMPLERS, Sampler

PATH = "/v1/traces"
PROTOCOL = "http/protobuf"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
# The name of a header is a token (RFC 9110, 5.6.2). Its value has the printable characters of latin-1, for http.client sends
# it so (`pairs` has looked for others that are not printable).
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
LATIN = re.compile(r"[ -\xff]*")


@dataclass(frozen=True)
class TraceSettings(TierSettings):
    """See the module's text. Without an endpoint there are no traces."""

    otlp_endpoint: str = setting(
        "",
        f"URL of an OpenTelemetry collector, http://… or https://…; traces go to {PATH} below it; no traces if empty",
        env="OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    otlp_traces_endpoint: str = setting(
        "",
        "URL that traces go to, whole; comes before OTEL_EXPORTER_OTLP_ENDPOINT",
        env="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    )
    otlp_headers: tuple[str, ...] = setting(
        (),
        "headers that the collector wants, name=value, percent-encoded, separated by commas",
        env=HEADERS,
    )
    otlp_timeout_ms: int = setting(
        10_000,
        "ms that a collector may take to answer",
        env="OTEL_EXPORTER_OTLP_TIMEOUT",
        least=1,
        most=600_000,
    )
    otlp_certificate: str = setting(
        "",
        "file with the authorities that sign the collector's certificate, as PEM; those of the system if empty",
        env="OTEL_EXPORTER_OTLP_CERTIFICATE",
    )
    otlp_compression: str = setting(
        "none",
        "compression of what is sent to the collector",
        env="OTEL_EXPORTER_OTLP_COMPRESSION",
    )
    otlp_protocol: str = setting(
        PROTOCOL, "protocol to the collector; there is one", env="OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    traces_sampler: str = setting("parentbased_always_on", "which traces are kept", env="OTEL_TRACES_SAMPLER")
    traces_sampler_arg: str = setting(
        "1", "share of traces that a sampler of a ratio keeps, from 0 to 1", env="OTEL_TRACES_SAMPLER_ARG"
    )
    service_name: str = setting(
        "", "name of the service in traces; inferencehub-gateway if empty", env="OTEL_SERVICE_NAME"
    )
    resource_attributes: tuple[str, ...] = setting(
        (),
        "what traces say of the process, name=value, percent-encoded, separated by commas",
        env="OTEL_RESOURCE_ATTRIBUTES",
    )
    bsp_schedule_delay_ms: int = setting(
        5000,
        "ms after which traces are sent, if they are not enough for a batch",
        env="OTEL_BSP_SCHEDULE_DELAY",
        least=10,
        most=3_600_000,
    )
    bsp_max_queue_size: int = setting(
        2048,
        "calls whose spans may wait to be sent; beyond it they are dropped and counted",
        env="OTEL_BSP_MAX_QUEUE_SIZE",
        least=1,
        most=1_000_000,
    )
    bsp_max_export_batch_size: int = setting(
        512,
        "calls whose spans are sent together, at most",
        env="OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        least=1,
        most=100_000,
    )
    bsp_export_timeout_ms: int = setting(
        30_000,
        "ms in which a batch must be sent, with all attempts",
        env="OTEL_BSP_EXPORT_TIMEOUT",
        least=1,
        most=600_000,
    )
    sdk_disabled: bool = setting(False, "no traces, whatever else is set", env="OTEL_SDK_DISABLED")
    trace_slow_ms: int = setting(
        5000,
        "ms from which on the trace of a call of a model is kept whatever the sampler says, as that of a call that fails is; 0 for never",
        least=0,
        most=3_600_000,
    )

    @property
    def traces_url(self) -> str:
        """Where traces go; "" for nowhere."""
        if self.sdk_disabled:
            return ""
        if self.otlp_traces_endpoint:
            return self.otlp_traces_endpoint
        return self.otlp_endpoint.rstrip("/") + PATH if self.otlp_endpoint else ""

    def sampler(self) -> Sampler:
        """Says which calls are kept."""
        by_parent, share = SAMPLERS[self.traces_sampler]
        return Sampler(by_parent, float(self.traces_sampler_arg) if share is None else share)

    def headers(self) -> dict[str, str]:
        """The headers that the collector wants.

        Raises:
            SettingError: if one can't be sent.
        """
        found = pairs(HEADERS, self.otlp_headers)
        for name, value in found.items():
            if not TOKEN.fullmatch(name) or not LATIN.fullmatch(value):
                raise SettingError(
                    f"{HEADERS} has an entry that is no header, expected name=value, not name: value"
                )
        return found

    def check_traces(self) -> None:
        """Raise `SettingError` if a setting of traces can't be used. What headers have is not shown: it may be a secret.

        Where there are no traces, all is well: others read these variables too, and may know more values.
        """
        if not self.traces_url:
            return
        for name, url in (
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.otlp_endpoint),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", self.otlp_traces_endpoint),
        ):
            if url and not is_url(url):
                raise SettingError(f"{name} is no URL of a collector, expected http://host:port or https://…")
        for name, text, rules in (
            ("OTEL_EXPORTER_OTLP_COMPRESSION", self.otlp_compression, one_of("none", "gzip")),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", self.otlp_protocol, one_of(PROTOCOL)),
            ("OTEL_TRACES_SAMPLER", self.traces_sampler, one_of(*SAMPLERS)),
        ):
            read_value(name, text, str, rules)
        read_value("OTEL_TRACES_SAMPLER_ARG", self.traces_sampler_arg, float, {"least": 0, "most": 1})
        self.headers()
        pairs("OTEL_RESOURCE_ATTRIBUTES", self.resource_attributes)


def one_of(*choices: str) -> dict[str, tuple[str, ...]]:
    """The rules of a text that is one of some, see `read_value`."""
    return {"choices": choices}


def is_url(text: str) -> bool:
    """Whether a text is a URL of a collector: without a user, for headers are the place of credentials."""
    try:
        url = urlsplit(text)
        return (
            url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and "@" not in url.netloc
        )
    except ValueError:  # of a port that is none
        return False


def pairs(setting: str, entries: tuple[str, ...]) -> dict[str, str]:
    """The entries of a setting, name=value, as a dict.

    Raises:
        SettingError: if one has another form, or characters that no header has.
    """
    found = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        name, value = unquote(name.strip()), unquote(value.strip())
        if not equals or not name.isprintable() or not name or not value.isprintable():
            raise SettingError(f"{setting} has an entry that is not name=value, separated by commas")
        found[name] = value
    return found
