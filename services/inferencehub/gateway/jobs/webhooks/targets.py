"""Where webhooks may go: the list of hosts, and URLs that are in it.

An entry of the list is a name, `*.` and a name, each with a port if it is not 443: then the URL is https, and its name
stands for public addresses alone. Or it is a whole origin, such as http://collector:8080: then that scheme, host and port
are meant, and the address may be of a private network; that of this machine, if the host says so itself.

A URL is read by one strict pattern, so what is checked is what is called.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

from inferencehub.core.process.settings import SettingError
from inferencehub.core.values.errors import bad_input
from inferencehub.gateway.jobs.webhooks.addresses import LOOPBACK, may_call, meant_by, within

SETTING, HEADER = "HUB_WEBHOOK_HOSTS", "X-Webhook-Url"
MOST_BYTES = 2048
NAME = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
HOST = rf"(?:{NAME}(?:\.{NAME})*|\[[0-9a-f:.]+\])"
PORT = r"(?::(?P<port>[1-9]\d{0,4}))?"
PATH = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*"
ENTRY = re.compile(rf"(?:(?P<scheme>https?)://)?(?P<any>\*\.)?(?P<host>{HOST}){PORT}")
URL = re.compile(rf"(?P<scheme>https?)://(?P<host>{HOST}){PORT}(?P<path>(?:[/?]{PATH})?)")
# What other readers of URLs take as an IPv4 address: a last part that is a number, or one in hexadecimal.
NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")
PORTS = {"http": 80, "https": 443}


class Target(NamedTuple):
    """A URL that may be called.

    Args:
        url: as it is called.
        host: its host and port; deliveries at a time are bounded for each.
        private, loopback: see `may_call`.
    """

    url: str
    host: str
    private: bool
    loopback: bool


class Entry(NamedTuple):
    """One entry of the list; `any` for all names below `host`."""

    scheme: str
    host: str
    port: int
    any: bool
    origin: bool

    def has(self, scheme: str, host: str, port: int) -> bool:
        """Whether the entry means a scheme, host and port."""
        named = host.endswith(f".{self.host}") if self.any else host == self.host
        return named and (scheme, port) == (self.scheme, self.port)


class Targets:
    """The list of hosts.

    Args:
        hosts: its entries.

    Raises:
        SettingError: for an entry that is none.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._entries = [entry_of(text) for text in hosts]

    def of(self, url: str) -> Target:
        """A URL as a target.

        Raises:
            HubError: BAD_INPUT if it is none, or not in the list.
        """
        if not self._entries:
            raise bad_input(f"{HEADER}: there are no webhooks here: {SETTING} names no hosts")
        found = URL.fullmatch(url) if len(url) <= MOST_BYTES else None
        host = None if found is None else host_of(found["host"])
        if found is None or host is None:
            raise bad_input(
                f"{HEADER}: expected https://host/path in lower case up to the path, of at most {MOST_BYTES} bytes, "
                f"without user, password and fragment, got '{url[:80]}'"
            )
        scheme = found["scheme"]
        port = int(found["port"] or PORTS[scheme])
        entries = [entry for entry in self._entries if entry.has(scheme, host, port)]
        if not entries:
            raise bad_input(f"{HEADER}: {scheme}://{host}:{port} is not in {SETTING}")
        private = any(entry.origin for entry in entries)
        called = f"{scheme}://{host}:{port}{'' if found['path'].startswith('/') else '/'}{found['path']}"
        return Target(called, f"{host}:{port}", private, private and names_loopback(host))


def entry_of(text: str) -> Entry:
    """An entry from its text.

    Raises:
        SettingError: if it is none.
    """
    found = ENTRY.fullmatch(text)
    host = None if found is None else host_of(found["host"])
    if found is None or host is None or not 0 < int(found["port"] or 1) < 65536:
        raise refused(text, "a host name in lower case, or an origin such as http://collector:8080")
    origin, any = bool(found["scheme"]), bool(found["any"])
    if any and (origin or is_literal(host)):
        raise refused(text, "*. only in front of a name without a scheme")
    if is_literal(host):
        if not origin:
            raise refused(text, "an address only as a whole origin, such as http://10.0.0.5:8080")
        if not may_call(host.strip("[]"), private=True, loopback=True):
            raise refused(text, "no address that is link-local, multicast or reserved")
    scheme = found["scheme"] or "https"
    return Entry(scheme, host, int(found["port"] or PORTS[scheme]), any, origin)


def refused(text: str, expected: str) -> SettingError:
    """The error for an entry."""
    return SettingError(f"{SETTING} has '{text}', expected {expected}")


def host_of(text: str) -> str | None:
    """A host in its one form; None for what is neither a name nor an address in its usual form."""
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return None if NUMBER.fullmatch(text) or len(text) > 253 or text.startswith("[") else text
    if text.startswith("[") is not (address.version == 6):
        return None
    return f"[{address}]" if address.version == 6 else str(address)


def is_literal(host: str) -> bool:
    """Whether a host is an address."""
    return host.startswith("[") or bool(NUMBER.fullmatch(host))


def names_loopback(host: str) -> bool:
    """Whether a host says itself that it is this machine."""
    if not is_literal(host):
        return host == "localhost"
    return within(meant_by(ip_address(host.strip("[]"))), LOOPBACK)
