"""The TCP connections behind a gRPC port. gRPC does not show them: what a caller has read and sent, and how to end one.

A connection is found among the process's open files, by the port and the caller's address. Where it lies is kept, because
a look through thousands of files takes long. Only Linux says how much was read and sent.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from contextlib import closing, suppress
from ipaddress import ip_address
from time import monotonic
from urllib.parse import unquote

FILES = "/dev/fd"  # the open files of this process
FAMILIES = (socket.AF_INET, socket.AF_INET6)
# Where `tcpi_bytes_acked` and `tcpi_bytes_received`, both u64, are in Linux's struct tcp_info.
ACKED_AT, RECEIVED_AT = 120, 128
SCAN_S = 0.5  # for a connection that is not found, all files are looked through at most so often
CAUTION = 50  # a look through all files takes at most one part in so many of the time

Address = tuple[str, int]


def address_of(peer: str) -> Address:
    """Host and port of what gRPC calls a peer, such as "ipv4:10.0.0.1:4711" or "ipv6:%5B::1%5D:4711"."""
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    return plain(host.strip("[]")), int(port)


def plain(host: str) -> str:
    """An IP address without its zone; an IPv4 address inside an IPv6 one as it is."""
    address = ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def counted(sock: socket.socket, at: int) -> int | None:
    """A number of bytes that TCP has counted; None where it does not."""
    if not hasattr(socket, "TCP_INFO"):
        return None
    with suppress(OSError, struct.error):  # an old kernel gives less
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, at + 8)
        size: int = struct.unpack_from("Q", info, at)[0]
        return size
    return None


class Connections:
    """The connections of a port.

    Args:
        port: returns the port, which is known once the server listens.
    """

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port
        self._files: dict[Address, int] = {}  # where each connection lay at the last look through all files
        self._received: dict[Address, int] = {}  # what each had sent then
        self._next_scan = 0.0  # for one connection,
        self._next_survey = 0.0  # and for all

    def acked(self, address: Address) -> int | None:
        """How many bytes a caller has taken since it connected, as TCP knows; None where that is not known."""
        sock = self._find(address)
        if sock is None:
            return None
        with closing(sock):
            return counted(sock, ACKED_AT)

    def received(self) -> dict[Address, int] | None:
        """How many bytes each caller has sent since it connected; None if that cannot be asked now."""
        if not self.may_survey() or not self._scan():
            return None
        return self._received

    def none(self) -> bool:
        """Whether nobody is connected; it looks through all files."""
        return self._scan() and not self._files

    def may_survey(self) -> bool:
        """Whether the last look through all files is long enough ago."""
        return monotonic() >= self._next_survey

    def cut(self, address: Address) -> None:
        """End a caller's connection at once, if it is still open and can be found."""
        sock = self._find(address)
        if sock is not None:
            with closing(sock), suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _find(self, address: Address) -> socket.socket | None:
        """A copy of a connection's socket."""
        for _ in range(2):
            number = self._files.get(address)
            if number is not None and (found := self._at(number)) is not None:
                if found[0] == address:
                    return found[1]
                found[1].close()
            if monotonic() < self._next_scan:
                return None
            self._scan()
        return None

    def _scan(self) -> bool:
        """Look through all files; False if there is no file left to read their names from."""
        began = monotonic()
        self._files, self._received = {}, {}
        try:
            names = os.listdir(FILES)
        except OSError:
            return False
        for name in names:
            if (found := self._at(int(name))) is not None:
                with closing(found[1]):
                    self._files[found[0]] = int(name)
                    if (size := counted(found[1], RECEIVED_AT)) is not None:
                        self._received[found[0]] = size
        now = monotonic()
        self._next_survey = now + CAUTION * (now - began)
        self._next_scan = max(self._next_survey, now + SCAN_S)
        return True

    def _at(self, number: int) -> tuple[Address, socket.socket] | None:
        """The caller's address and a copy of the socket, if this file is a connection of the port."""
        try:
            copy = os.dup(number)
        except OSError:
            return None
        try:
            sock = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            return None
        with suppress(OSError):  # it is not connected
            if sock.family in FAMILIES and sock.getsockname()[1] == self._port():
                host, remote = sock.getpeername()[:2]
                return (plain(host), remote), sock
        sock.close()
        return None
