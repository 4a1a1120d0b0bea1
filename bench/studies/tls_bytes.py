"""What TLS takes a byte, without sockets and without HTTP: `python -m bench.studies.tls_bytes`; needs openssl.

Both ends of a connection (core/tls) in one process, with a transport that keeps what was written. A large message is
encrypted by one end and decrypted by the other one, and beside it stands what the cipher alone takes (`openssl speed`).
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.tls.connection import TlsConnection
from inferencehub.core.tls.handshakes import Handshakes
from tests.authority import Authority, Secret

SIZE = 600_000
TURNS = 200
READ = 2**17  # bytes that one read of a socket brings
CIPHER, RECORD = "aes-256-gcm", 2**14


class Reader(asyncio.BufferedProtocol):
    """What speaks through TLS: it counts the bytes that come."""

    def __init__(self) -> None:
        self.got = 0
        self.place = memoryview(bytearray(SIZE))
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.BaseProtocol`."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        return self.place[self.got % SIZE :]

    def buffer_updated(self, size: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self.got += size


class Kept:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """See `asyncio.WriteTransport`."""
        self.written.append(data)

    def writelines(self, data: Sequence[bytes]) -> None:
        """See `asyncio.WriteTransport`."""
        self.written += data

    def get_extra_info(self, name: str) -> None:
        """See `asyncio.BaseTransport`."""


class End:
    """One end of a connection."""

    def __init__(self, certificate: Certificate) -> None:
        self.app, self.kept = Reader(), Kept()
        self.tls = TlsConnection(Handshakes(certificate, 60.0, 2, set(), lambda: self.app))
        self.tls.connection_made(self.kept)

    def take(self, data: bytes) -> None:
        """Bytes arrive."""
        for at in range(0, len(data), READ):
            piece = data[at : at + READ]
            self.tls.get_buffer(-1)[: len(piece)] = piece
            self.tls.buffer_updated(len(piece))

    def sent(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self.kept.written)
        self.kept.written.clear()
        return data


async def measure(folder: Path) -> tuple[float, float]:
    """Microseconds for encrypting and for decrypting the message, medians."""
    authority, files = Authority(folder, "authority"), Secret(folder / "secret")
    files.hold(*authority.signed("peer"), authority)
    chain, key, trusted = (str(files.directory / name) for name in ("tls.crt", "tls.key", "ca.crt"))
    server = End(Certificate("HUB_TIER_TLS", chain, key, trusted))
    client = End(Certificate("HUB_TIER_TLS", chain, key, trusted, calls="peer"))
    while client.app.transport is None or server.app.transport is None:
        server.take(client.sent())
        client.take(server.sent())
    message, encrypting, decrypting = b"x" * SIZE, list[float](), list[float]()
    for _ in range(TURNS):
        began = perf_counter()
        client.app.transport.writelines([message])
        between = perf_counter()
        data = client.sent()
        after = perf_counter()
        server.take(data)
        decrypting.append(perf_counter() - after)
        encrypting.append(between - began)
    if server.app.got != SIZE * TURNS:
        raise SystemExit(f"{server.app.got} bytes came, {SIZE * TURNS} were sent")
    return median(encrypting) * 1e6, median(decrypting) * 1e6


def cipher_us() -> float:
    """Microseconds of the cipher alone for the message."""
    command = ["openssl", "speed", "-evp", CIPHER, "-bytes", str(RECORD), "-seconds", "1"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"([\d.]+)k\s*$", said)
    return SIZE / float(found[-1]) * 1e3


def main() -> None:
    """Print what the message takes."""
    with tempfile.TemporaryDirectory(prefix="hub-tls-") as folder:
        encrypting, decrypting = asyncio.run(measure(Path(folder)))
    alone = cipher_us()
    for name, took in (("encrypt", encrypting), ("decrypt", decrypting), (f"{CIPHER} alone", alone)):
        print(f"{name:17} {took:5.0f} us for {SIZE:,} bytes, {took / SIZE * 1e3:.2f} ns a byte")


if __name__ == "__main__":
    main()
