"""Settings: environment variables, read once in `__main__.py` into one frozen dataclass a tier.

A field `queue_length` is read from `HUB_QUEUE_LENGTH`. Its text and range are beside it, the README's table is checked
against them, and a name that no field has, or a value out of range, stops the start with a sentence.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_type_hints

from inferencehub.core.values.call_rules import TimeLimits

PREFIX = "HUB_"
# What Kubernetes sets in every pod for each Service of the namespace; one of a Service called "hub-…" begins like us.
SERVICE_LINK = re.compile(
    r"HUB_(.*_)?(SERVICE_(HOST|PORT(_.*)?)|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)$"
)
LINK_VALUES = ("tcp://", "udp://", "sctp://")
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

T = TypeVar("T")


class SettingError(Exception):
    """A setting that is unknown or out of range; the text names it, what was expected and what came."""


def setting(
    default: Any,
    text: str,
    env: str = "",
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field of a settings class.

    Args:
        default: its value where the variable is not set.
        text: what it does, with its unit, as the README shows it.
        env: the variable's name, where it is not `HUB_` and the field's name.
        least, most: the range of a number.
        choices: the values that a text may have.
    """
    metadata = {"text": text, "env": env, "least": least, "most": most, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What every process has."""

    ops_port: int = setting(9090, "port for metrics and probes; 0 takes any free one", least=0, most=65535)
    log_format: str = setting("json", "how log lines look", choices=("json", "human"))
    log_level: str = setting(
        "info", "the least level that is logged", choices=("debug", "info", "warning", "error")
    )
    drain_wait_s: float = setting(
        5.0,
        "seconds for which a process that was told to end still serves, until callers have seen it",
        least=0,
        most=600,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class TierSettings(ProcessSettings):
    """What both tiers have."""

    access_log: bool = setting(True, "one line for each request")
    default_timeout_ms: int = setting(
        30_000, "deadline of a request that names none, in ms", least=1, most=3_600_000
    )
    max_timeout_ms: int = setting(
        300_000, "longest deadline that a request may name, in ms", least=1, most=3_600_000
    )
    queue_bytes: int = setting(
        256 * 2**20, "bytes of requests that the process holds at a time; beyond it they get 429", least=2**10
    )
    default_model: str = setting("v1-mock", "model of a /predict with features that names none")
    default_text_model: str = setting("sentiment", "model of a /predict with text that names none")
    drain_timeout_s: float = setting(
        30.0, "seconds for which requests that run at the end are waited for", least=0, most=3600
    )

    def __post_init__(self) -> None:
        self.check_timeouts()

    @property
    def time_limits(self) -> TimeLimits:
        """How long calls may take."""
        return TimeLimits(self.default_timeout_ms / 1000, self.max_timeout_ms / 1000)

    def model_for(self, text: str | None) -> str:
        """The model of a /predict that names none."""
        return self.default_model if text is None else self.default_text_model

    def check_timeouts(self) -> None:
        """Raise `SettingError` where the default deadline is over the longest one."""
        if self.default_timeout_ms > self.max_timeout_ms:
            raise SettingError(
                f"HUB_DEFAULT_TIMEOUT_MS is {self.default_timeout_ms}, expected at most "
                f"HUB_MAX_TIMEOUT_MS, {self.max_timeout_ms}"
            )


def variables(cls: type) -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Each variable that a settings class reads, with its field."""
    for field in dataclasses.fields(cls):
        yield field.metadata["env"] or PREFIX + field.name.upper(), field


def without_links(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what Kubernetes made for Services."""
    return {
        name: value
        for name, value in environ.items()
        if not (name.startswith(PREFIX) and (SERVICE_LINK.match(name) or value.startswith(LINK_VALUES)))
    }


def refuse_unknown(environ: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise `SettingError` for a `HUB_` name that is not in `known` and that Kubernetes did not make."""
    names = set(known)
    for name in sorted(without_links(environ)):
        if name.startswith(PREFIX) and name not in names:
            raise SettingError(f"{name} is no setting; expected one of {', '.join(sorted(names))}")


def read_settings(cls: type[T], environ: Mapping[str, str]) -> T:
    """The settings of class `cls` out of `environ`.

    Raises:
        SettingError: naming the first variable that is unknown or whose value will not do.
    """
    fields = dict(variables(cls))
    refuse_unknown(environ, fields)
    environ = without_links(environ)
    hints = get_type_hints(cls)
    values = {
        field.name: read_value(name, environ[name], hints[field.name], field.metadata)
        for name, field in fields.items()
        if name in environ
    }
    return cls(**values)


def read_value(name: str, text: str, kind: Any, rules: Mapping[str, Any]) -> Any:
    """One variable's value as its field's type."""
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
