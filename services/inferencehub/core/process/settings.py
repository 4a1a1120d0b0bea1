"""Settings: environment variables, which each tier's `__main__.py` reads once into a frozen dataclass.

The field `queue_length` is read from `HUB_QUEUE_LENGTH`. Its text and range stand next to it; a test compares names and
defaults with the table in docs/settings.md. An unknown name or a value out of range stops the start with a sentence.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.tls.ops_certificate import OpsCertificate
from inferencehub.core.values.call_rules import TimeLimits

PREFIX = "HUB_"
# Variables that Kubernetes sets in every pod for each Service of the namespace. Those of a Service called "hub-…" begin
# with our prefix.
SERVICE_LINK = re.compile(
    r"HUB_(.*_)?(SERVICE_(HOST|PORT(_.*)?)|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)$"
)
STANDARD = "OTEL_"  # of these, an empty variable is none, as OpenTelemetry says
LINK_VALUES = ("tcp://", "udp://", "sctp://")
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

T = TypeVar("T")


class SettingError(Exception):
    """A setting is unknown or out of range. The text names the setting, what was expected and what came."""


def setting(
    default: Any,
    text: str,
    env: str = "",
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a field of a settings class.

    Args:
        default: the value if the variable is not set.
        text: what the setting does, with its unit.
        env: the variable's name; if empty, it is `HUB_` and the field's name in capitals.
        least, most: the range of a number, both inclusive; None for no limit.
        choices: the allowed values of a text; () for any.
    """
    metadata = {"text": text, "env": env, "least": least, "most": most, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessSettings:
    """Settings of every process."""

    ops_port: int = setting(9090, "port for metrics and probes; 0 takes any free port", least=0, most=65535)
    log_format: str = setting("json", "format of log lines", choices=("json", "human"))
    log_level: str = setting(
        "info", "lowest level that is logged", choices=("debug", "info", "warning", "error")
    )
    drain_wait_s: float = setting(
        5.0,
        "seconds to keep serving after SIGTERM, until load balancers and gateways have noticed it",
        least=0,
        most=600,
    )
    ops_tls_cert: str = setting(
        "",
        "file with the certificate of the ops port, followed by those that signed it, as PEM; metrics, demand and "
        "probes are then TLS only; read again when it changes",
    )
    ops_tls_key: str = setting("", "file with the key of this certificate, as PEM, without a password")
    ops_tls_ca: str = setting(
        "",
        "file with the authorities that sign the certificates of who reads metrics and of other ops ports, as PEM; all "
        "but probes is only for who shows one; read again when it changes",
    )

    def check_files(self, port: str) -> None:
        """Raise `SettingError` if some of the files for mutual TLS of a port are named, and others are not."""
        names = [f"{port}_tls_{part}" for part in ("cert", "key", "ca")]
        files = [getattr(self, name) for name in names]
        if any(files) and not all(files):
            cert, key, ca = (PREFIX + name.upper() for name in names)
            raise SettingError(f"{cert}, {key} and {ca} belong together, expected all or none")

    def ops_certificate(self) -> OpsCertificate | None:
        """The certificate of the ops port; None if it speaks in plain.

        Raises:
            BadFile: if it can't be used.
        """
        if not self.ops_tls_cert:
            return None
        return OpsCertificate(self.ops_tls_cert, self.ops_tls_key, self.ops_tls_ca)


@dataclasses.dataclass(frozen=True, slots=True)
class TierSettings(ProcessSettings):
    """Settings of the gateway and of the inference service."""

    access_log: bool = setting(True, "write one line for each request")
    default_timeout_ms: int = setting(
        30_000, "deadline of a request that names none, in ms", least=1, most=3_600_000
    )
    max_timeout_ms: int = setting(
        300_000, "longest deadline that a request may name, in ms", least=1, most=3_600_000
    )
    queue_bytes: int = setting(
        256 * 2**20,
        "bytes that the process may hold for requests; beyond it requests get 429",
        least=2**10,
    )
    default_model: str = setting(
        "", "model for a /predict with features that names no model; if empty, see docs/models.md"
    )
    default_text_model: str = setting(
        "", "model for a /predict with text that names no model; if empty, see docs/models.md"
    )
    drain_timeout_s: float = setting(
        30.0, "seconds to wait at the end for requests that still run", least=0, most=3600
    )
    reflection: bool = setting(True, "answer gRPC reflection, which tells everybody the methods and messages")
    tier_tls_cert: str = setting(
        "",
        "file with the certificate that this tier shows to the other one, followed by those that signed it, as PEM; "
        "the tiers then speak mutual TLS only; read again when it changes",
    )
    tier_tls_key: str = setting("", "file with the key of this certificate, as PEM, without a password")
    tier_tls_ca: str = setting(
        "",
        "file with the authorities that sign the other tier's certificates, as PEM; read again when it changes",
    )
    api_keys: str = setting(
        "",
        "file of API keys, as JSON; callers must then send one of them, those of pods where HUB_DIRECT_CALLS is true; "
        "read again when it changes",
    )

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise `SettingError` if settings do not go together."""
        self.check_timeouts()
        self.check_files("tier")
        self.check_files("ops")

    @property
    def time_limits(self) -> TimeLimits:
        """The time limits for calls, in seconds."""
        return TimeLimits(self.default_timeout_ms / 1000, self.max_timeout_ms / 1000)

    def model_for(self, text: str | None) -> str:
        """The model set for a /predict that names none, "" if none is set; `text` is None for features."""
        return self.default_model if text is None else self.default_text_model

    def tier_certificate(self, admits: Sequence[str] = (), calls: str = "") -> Certificate | None:
        """What this tier shows to the other one, and whom it trusts; None if the tiers speak in plain.

        Args:
            admits, calls: see `Certificate`.

        Raises:
            BadFile: if it can't be used.
        """
        if not self.tier_tls_cert:
            return None
        files = (self.tier_tls_cert, self.tier_tls_key, self.tier_tls_ca)
        return Certificate("HUB_TIER_TLS", *files, admits=admits, calls=calls)

    def check_timeouts(self) -> None:
        """Raise `SettingError` if the default deadline is longer than the longest allowed one."""
        if self.default_timeout_ms > self.max_timeout_ms:
            raise SettingError(
                f"HUB_DEFAULT_TIMEOUT_MS is {self.default_timeout_ms}, expected at most "
                f"HUB_MAX_TIMEOUT_MS, {self.max_timeout_ms}"
            )


def variables(cls: type) -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """The names of all variables that a settings class reads, each with its field."""
    for field in dataclasses.fields(cls):
        yield field.metadata["env"] or PREFIX + field.name.upper(), field


def without_links(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables that Kubernetes creates for Services."""
    return {
        name: value
        for name, value in environ.items()
        if not (name.startswith(PREFIX) and (SERVICE_LINK.match(name) or value.startswith(LINK_VALUES)))
    }


def refuse_unknown(environ: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise `SettingError` if there is a `HUB_` name that is not in `known` and that Kubernetes did not create."""
    names = set(known)
    for name in sorted(without_links(environ)):
        if name.startswith(PREFIX) and name not in names:
            raise SettingError(f"{name} is no setting; expected one of {', '.join(sorted(names))}")


def read_settings(cls: type[T], environ: Mapping[str, str]) -> T:
    """Read the settings class `cls` from `environ`.

    Raises:
        SettingError: if a variable is unknown or has an invalid value; it names the first one.
    """
    fields = dict(variables(cls))
    refuse_unknown(environ, fields)
    environ = {
        name: value
        for name, value in without_links(environ).items()
        if value or not name.startswith(STANDARD)
    }
    hints = get_type_hints(cls)
    values = {
        field.name: read_value(name, environ[name], hints[field.name], field.metadata)
        for name, field in fields.items()
        if name in environ
    }
    return cls(**values)


def read_value(name: str, text: str, kind: Any, rules: Mapping[str, Any]) -> Any:
    """Convert a variable's text to its field's type.

    Args:
        name: the variable's name.
        text: its value.
        kind: the field's type: bool, int, float, str or tuple[str, ...].
        rules: the field's metadata, see `setting`.

    Raises:
        SettingError: if the value is invalid.
    """
    if kind is bool:
        if text.lower() not in TRUE + FALSE:
            raise SettingError(f"{name} is '{text}', expected true or false")
        return text.lower() in TRUE
    if kind is str:
        if rules["choices"] and text not in rules["choices"]:
            raise SettingError(f"{name} is '{text}', expected one of {', '.join(rules['choices'])}")
        return text
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        number = kind(text)
    except ValueError:
        raise SettingError(
            f"{name} is '{text}', expected a {'whole ' if kind is int else ''}number"
        ) from None
    least, most = rules["least"], rules["most"]
    if (least is not None and not number >= least) or (most is not None and not number <= most):
        upto = f" to {most}" if most is not None else " or more"
        raise SettingError(f"{name} is {text}, expected {least}{upto}")
    return number
