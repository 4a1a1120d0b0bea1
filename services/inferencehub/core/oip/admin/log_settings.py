"""Log settings as in Triton's logging extension, and the trace settings of a server that does not trace.

This server logs all lines from one level on. So a switch that is turned on turns on those of the levels above it, and a
switch that is turned off turns off those below it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from inferencehub.core.values.errors import HubError, Kind, bad_input, shown
from inferencehub.pb import open_inference_pb2 as pb

Setting = bool | int | str
VERBOSE = "log_verbose_level"
LEVELS = {
    VERBOSE: logging.DEBUG,
    "log_info": logging.INFO,
    "log_warning": logging.WARNING,
    "log_error": logging.ERROR,
}
# Triton's settings of a server that does not trace, in their order.
TRACE: dict[str, list[str]] = {
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
    "trace_file": [""],
    "trace_mode": ["triton"],
}


class LogSettings:
    """The log settings of this process.

    Args:
        format: the format of log lines, which cannot be changed.
    """

    def __init__(self, format: str) -> None:
        self.format = format

    def read(self) -> dict[str, Setting]:
        """All settings, in Triton's order. Lines go to standard error, so there is no file."""
        level = logging.getLogger().level
        return {
            "log_file": "",
            "log_info": level <= LEVELS["log_info"],
            "log_warning": level <= LEVELS["log_warning"],
            "log_error": level <= LEVELS["log_error"],
            VERBOSE: int(level <= LEVELS[VERBOSE]),
            "log_format": self.format,
        }

    def change(self, wanted: Mapping[str, object]) -> None:
        """Change the level of the log; a setting that is None stays.

        Raises:
            HubError: BAD_INPUT for a value of another type, UNSUPPORTED for a setting that cannot be changed so. Then
                nothing changes.
        """
        given = {name: value for name, value in wanted.items() if value is not None}
        now = self.read()
        for name, value in given.items():
            if name not in LEVELS and (name not in now or value != now[name]):
                expected = ", ".join(sorted(LEVELS))
                raise HubError(
                    Kind.UNSUPPORTED,
                    f"log setting '{name[:80]}' cannot be changed, expected one of {expected}",
                )
        switches = {LEVELS[name]: is_on(name, value) for name, value in given.items() if name in LEVELS}
        level = logging.getLogger().level
        for of_switch, on in switches.items():
            level = min(level, of_switch) if on else max(level, of_switch + 10)
        if any((level <= of_switch) is not on for of_switch, on in switches.items()):
            raise HubError(
                Kind.UNSUPPORTED,
                f"log settings {shown(dict(given), 200)} are not supported, expected each level to be on where a lower "
                "one is",
            )
        logging.getLogger().setLevel(level)


def is_on(name: str, value: object) -> bool:
    """Whether a setting turns its level on.

    Raises:
        HubError: BAD_INPUT for a value of another type.
    """
    if name == VERBOSE:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise bad_input(f"log setting '{name}' is {shown(value)}, expected a whole number from 0")
        return value > 0
    if not isinstance(value, bool):
        raise bad_input(f"log setting '{name}' is {shown(value)}, expected true or false")
    return value


def settings_from_proto(request: pb.LogSettingsRequest) -> dict[str, object]:
    """The settings of a request; None for one without a value."""
    found: dict[str, object] = {}
    for name, value in request.settings.items():
        kind = value.WhichOneof("parameter_choice")
        found[name] = None if kind is None else getattr(value, kind)
    return found


def settings_to_proto(settings: Mapping[str, Setting]) -> pb.LogSettingsResponse:
    """Settings as the protocol's answer."""
    response = pb.LogSettingsResponse()
    for name, value in settings.items():
        kind = {bool: "bool_param", int: "uint32_param", str: "string_param"}[type(value)]
        setattr(response.settings[name], kind, value)
    return response


def trace_to_proto() -> pb.TraceSettingResponse:
    """The trace settings as the protocol's answer."""
    response = pb.TraceSettingResponse()
    for name, values in TRACE.items():
        response.settings[name].value.extend(values)
    return response


def trace_json() -> dict[str, str | list[str]]:
    """The trace settings as JSON: Triton writes a list only for the level."""
    return {name: values if name == "trace_level" else values[0] for name, values in TRACE.items()}
