"""Makes the line of a recorded call: what is listed comes into it, and a call whose credential stands in it is withheld."""

from __future__ import annotations

import zlib

from inferencehub.core.http1.recording.line import (
    ANSWER_HEADERS,
    REQUEST_HEADERS,
    VERSION,
    Body,
    RecordedCall,
    body_of,
    digest_of,
    encode,
)
from inferencehub.gateway.http_api.recording.tape import Tape

MOST_ANSWER = 2**20  # bytes; of a larger answer the line has the digest
WINDOW_BITS = {b"gzip": 31, b"deflate": 15}  # of our own answers
CREDENTIALS = (b"authorization", b"proxy-authorization", b"x-api-key", b"cookie")
SECRET = 16  # the shortest credential that is looked for: clients that need none send words such as "any" or "none"


class Withheld(Exception):
    """The credential of a call's caller stands in what would be recorded."""


def line_of(tape: Tape) -> bytes:
    """The line of a call, with its end.

    Raises:
        Withheld: see there.
    """
    fields = dict(line.split(b": ", 1) for line in tape.lines.split(b"\r\n") if line)
    content = b"".join(tape.parts)
    if coding := fields.get(b"content-encoding"):
        content = zlib.decompress(content, WINDOW_BITS[coding])
    headers, answer_headers = chosen(tape.head.fields, REQUEST_HEADERS), chosen(fields, ANSWER_HEADERS)
    path = tape.head.path
    said = (path, tape.id.encode(), tape.body, content, *(value.encode() for value in headers.values()))
    for secret in secrets_of(tape.head.fields):
        if any(secret in part for part in said):
            raise Withheld
    call = RecordedCall(
        version=VERSION,
        time=round(tape.time, 6),
        id=tape.id,
        trace_id=tape.trace_id,
        method=tape.head.method,
        path=path.decode("latin-1"),
        headers=headers,
        body=body_of(tape.body),
        status=tape.status,
        answer_headers=answer_headers,
        answer=answer_of(content),
        seconds=round(tape.seconds, 6),
        server_timing=fields.get(b"server-timing", b"").decode("latin-1"),
    )
    return encode(call) + b"\n"


def answer_of(content: bytes) -> Body:
    """The body of an answer, or its digest."""
    return body_of(content) if len(content) <= MOST_ANSWER else digest_of(content)


def chosen(fields: dict[bytes, bytes], names: tuple[str, ...]) -> dict[str, str]:
    """The headers with these names."""
    return {name: fields[key].decode("latin-1") for name in names if (key := name.encode()) in fields}


def secrets_of(fields: dict[bytes, bytes]) -> list[bytes]:
    """What a caller has shown to say who they are."""
    found: list[bytes] = []
    for name in CREDENTIALS:
        for part in fields.get(name, b"").replace(b";", b" ").split():
            secret = part.partition(b"=")[2] if name == b"cookie" else part
            if len(secret) >= SECRET:
                found.append(secret)
    return found
