"""The other end of a caller's connection."""

from __future__ import annotations

from ipaddress import ip_address
from math import inf
from typing import Any, NamedTuple
from urllib.parse import unquote

HOST, ADDRESS, URI = "host", "address", "uri"  # kinds of names in a certificate
MAPPED = "::ffff:"  # in front of an IPv4 address, where a socket takes both kinds


class Peer(NamedTuple):
    """The other end of a connection.

    Args:
        address: its IP address, which is that of a proxy where one stands in front and is not trusted to tell another; "" if it is not known.
        names: those in the certificate that it has shown; () without one.
        until: when this certificate expires, in Unix time, where that is known: gRPC ends its connections at their age.
    """

    address: str = ""
    names: tuple[str, ...] = ()
    until: float = inf


NOBODY = Peer()


def canonical(name: str) -> str:
    """A name as it is compared: hosts in lower case, addresses in their usual form, URIs as they are."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name if ":" in name else name.lower()


def name_of(kind: str, name: str) -> str:
    """A name in a certificate as it is compared; "" if it would be taken for one of another kind."""
    shown = canonical(name)
    try:
        is_address = bool(ip_address(shown))
    except ValueError:
        is_address = False
    found = ADDRESS if is_address else URI if ":" in shown else HOST
    return shown if found == kind else ""


def address_of(peername: Any) -> str:
    """The address in what a socket says of its other end."""
    return peername[0].removeprefix(MAPPED) if isinstance(peername, tuple) else ""


def address_in(peer: str) -> str:
    """The address in what gRPC says of a call's other end, such as ipv4:127.0.0.1:5000 or ipv6:%5B::1%5D:5000."""
    host = unquote(peer).partition(":")[2].rpartition(":")[0]
    return host.strip("[]").removeprefix(MAPPED)
