"""The TCP connections behind a gRPC port. gRPC does not show them: how much a caller has read, and how to end one.

A connection is found among the process's open files by the caller's address. Only Linux says how much was read.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from ipaddress import ip_address
from urllib.parse import unquote

FILES = "/dev/fd"  # the open files of this process
FAMILIES = (socket.AF_INET, socket.AF_INET6)
ACKED_AT = 120  # where `tcpi_bytes_acked`, an u64, is in Linux's struct tcp_info

Address = tuple[str, int]


def address_of(peer: str) -> Address:
    """Host and port of what gRPC calls a peer, such as "ipv4:10.0.0.1:4711" or "ipv6:%5B::1%5D:4711"."""
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    return plain(host.strip("[]")), int(port)


def plain(host: str) -> str:
    """An IP address without its zone; an IPv4 address inside an IPv6 one as it is."""
    address = ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def connections(port: int) -> Iterator[tuple[Address, socket.socket]]:
    """The connections of callers to a port of this process. Each socket is a copy, which is closed afterwards."""
    for name in os.listdir(FILES):
        with suppress(OSError, ValueError):  # it is no connection, or it has been closed meanwhile
            copy = os.dup(int(name))
            try:
                sock = socket.socket(fileno=copy)
            except OSError:
                os.close(copy)
                continue
            with closing(sock):
                if sock.family in FAMILIES and sock.getsockname()[1] == port:
                    host, number = sock.getpeername()[:2]
                    yield (plain(host), number), sock


def acked(port: int) -> dict[Address, int]:
    """How many bytes each caller of a port has taken since it connected, as TCP knows; empty where it is not known."""
    if not hasattr(socket, "TCP_INFO"):
        return {}
    found = {}
    for address, sock in connections(port):
        with suppress(OSError, struct.error):  # an old kernel gives less
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKED_AT + 8)
            found[address] = struct.unpack_from("Q", info, ACKED_AT)[0]
    return found


def cut(port: int, address: Address) -> None:
    """End a caller's connection at once, if it is still open."""
    for found, sock in connections(port):
        if found == address:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            return
