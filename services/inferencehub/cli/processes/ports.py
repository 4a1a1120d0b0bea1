"""The ports that `inferencehub run` uses: their options, chosen, free, and each named by the setting that moves it."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import click

from inferencehub.cli.processes.numbers import Whole
from inferencehub.core.process.settings import SettingError

NUMBER = Whole(1, 65535)
port_option = click.option(
    "--inference-port", type=NUMBER, default=50051, envvar="INFERENCE_PORT", show_envvar=True,
    help="gRPC port of the inference service; more of them take the ports after it.",
)  # fmt: skip
ops_port_option = click.option(
    "--inference-ops-port", type=NUMBER, default=9091, envvar="INFERENCE_OPS_PORT", show_envvar=True,
    help="Its port for metrics and probes; more of them take the ports after it.",
)  # fmt: skip


class Port(NamedTuple):
    """A port, and the name of the setting that moves it."""

    number: int
    setting: str


def chosen(port: Port, offset: int = 0) -> Port:
    """The port `offset` places above `port`; any free one if `port` is 0.

    Raises:
        SettingError: if there is no such port.
    """
    if port.number == 0:
        with listener(0) as sock:
            return Port(sock.getsockname()[1], port.setting)
    if port.number + offset > 65535:
        raise SettingError(
            f"{port.setting} is {port.number}, so process {offset + 1} has no port; expected a lower one"
        )
    return Port(port.number + offset, port.setting)


def refuse_taken(ports: Iterable[Port]) -> None:
    """Refuse ports on which another process listens, and ports that two of our own processes would share.

    Raises:
        SettingError: names each of them and what moves it.
    """
    wanted = sorted(ports)
    times = Counter(port.number for port in wanted)
    for port in wanted:
        if times[port.number] > 1:
            names = " or ".join(dict.fromkeys(p.setting for p in wanted if p.number == port.number))
            raise SettingError(
                f"port {port.number} is needed {times[port.number]} times; move it with {names}"
            )
    taken = [port for port in wanted if not is_free(port.number)]
    if taken:
        said = ", ".join(f"port {port.number} is taken (moved by {port.setting})" for port in taken)
        raise SettingError(f"{said}; does another one run on this machine?")


def is_free(number: int) -> bool:
    """Whether a process could listen on a port now."""
    try:
        listener(number).close()
    except OSError:
        return False
    return True


def listener(number: int) -> socket.socket:
    """A socket that listens on a port of all addresses, as the tiers do.

    Raises:
        OSError: if the port is taken, or not allowed.
    """
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", number), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", number))
