"""The TCP connections behind a gRPC port. gRPC does not show them: how much a caller has sent and read, and how to end one.

They are found among the process's open files, by the port and the caller's address. Only Linux says what was sent.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote

FILES = "/dev/fd"  # the open files of this process
FAMILIES = (socket.AF_INET, socket.AF_INET6)
COUNTERS = struct.Struct("QQ")  # `tcpi_bytes_acked` and `tcpi_bytes_received` of Linux's struct tcp_info
COUNTERS_AT = 120

Address = tuple[str, int]


class Counters(NamedTuple):
    """Bytes since a connection began: those that its caller has taken, and those that it has sent."""

    taken: int
    sent: int


def address_of(peer: str) -> Address:
    """Host and port of what gRPC calls a peer, such as "ipv4:10.0.0.1:4711" or "ipv6:%5B::1%5D:4711"."""
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    return plain(host.strip("[]")), int(port)


def plain(host: str) -> str:
    """An IP address without its zone; an IPv4 address inside an IPv6 one as it is."""
    address = ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


class Connections:
    """The connections of a port.

    Args:
        port: returns the port, which is known once the server listens.
    """

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port
        self._others: dict[int, int] = {}  # files that are no connection of the port: number and inode

    def counters(self) -> dict[Address, Counters]:
        """The counters of each connection, by its caller's address; empty where the system does not tell."""
        found = {}
        if hasattr(socket, "TCP_INFO"):
            for address, sock in self._all():
                with suppress(OSError, struct.error):  # an old kernel gives less
                    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, COUNTERS_AT + COUNTERS.size)
                    found[address] = Counters(*COUNTERS.unpack_from(info, COUNTERS_AT))
        return found

    def cut(self, address: Address) -> None:
        """End a connection at once, if it is still open."""
        for found, sock in self._all():
            if found == address:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                return

    def _all(self) -> Iterator[tuple[Address, socket.socket]]:
        """Each connection. The socket is a copy, which is closed afterwards."""
        port, others = self._port(), self._others
        for name in os.listdir(FILES):
            with suppress(OSError):  # it has been closed meanwhile, or was not connected
                number = int(name)
                inode = os.fstat(number).st_ino
                if others.get(number) == inode:
                    continue
                copy = os.dup(number)
                try:
                    sock = socket.socket(fileno=copy)
                except OSError:
                    os.close(copy)
                    others[number] = inode
                    continue
                with closing(sock):
                    if sock.family not in FAMILIES or sock.getsockname()[1] != port:
                        others[number] = inode
                        continue
                    host, remote = sock.getpeername()[:2]
                    yield (plain(host), remote), sock
