"""One question to an ops port, over a connection of its own."""

from __future__ import annotations

import asyncio
import ssl
from email.utils import parsedate_to_datetime
from time import time
from typing import NamedTuple

MOST_BYTES = 2**20


class Told(NamedTuple):
    """An answer.

    Args:
        status: of HTTP.
        body: as it came.
        ahead_s: how far the other side's clock, which has whole seconds, is ahead of this one; None if it does not say.
    """

    status: int
    body: bytes
    ahead_s: float | None


async def ask(host: str, port: int, path: str, tls: ssl.SSLContext | None, seconds: float) -> Told:
    """GET a page as JSON.

    Args:
        host, port: whom to ask.
        path: of the page.
        tls: for ports that speak TLS.
        seconds: for all of it.

    Raises:
        OSError: if there is no answer; TimeoutError is one.
        ValueError: if it is no answer of HTTP.
    """
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        try:
            head = f"GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\nconnection: close\r\n\r\n"
            writer.write(head.encode("ascii"))
            answer = b""
            while len(answer) < MOST_BYTES and (part := await reader.read(2**16)):
                answer += part
        finally:
            writer.close()
    return read_answer(answer)


def read_answer(answer: bytes) -> Told:
    """Take an answer apart that has just come.

    Raises:
        ValueError: if it is no answer of HTTP.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise ValueError("it does not answer with HTTP")
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    date = fields.get("date")
    ahead_s = None if date is None else parsedate_to_datetime(date).timestamp() - time()
    return Told(int(rest[:3]), body, ahead_s)
