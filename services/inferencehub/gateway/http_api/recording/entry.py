"""Makes the line of a recorded call: what is listed comes into it, and a call whose credential stands in it is withheld."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256

from inferencehub.core.http1.handler import Headers
from inferencehub.core.http1.recording.line import (
    ANSWER_HEADERS,
    REQUEST_HEADERS,
    VERSION,
    Body,
    RecordedCall,
    body_of,
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
    secrets = secrets_of(tape.head.headers)
    answer = answer_of(pieces_of(b"".join(tape.parts), fields.get(b"content-encoding", b"")), secrets)
    headers, answer_headers = chosen(tape.head.fields, REQUEST_HEADERS), chosen(fields, ANSWER_HEADERS)
    path = tape.head.path
    said = (path, tape.id.encode(), tape.body, *(value.encode() for value in headers.values()))
    if any(secret in part for secret in secrets for part in said):
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
        answer=answer,
        seconds=round(tape.seconds, 6),
        server_timing=fields.get(b"server-timing", b"").decode("latin-1"),
    )
    return encode(call) + b"\n"


def answer_of(pieces: Iterator[bytes], secrets: Sequence[bytes]) -> Body:
    """The body of an answer, or its digest.

    Raises:
        Withheld: if one of the secrets stands in it.
    """
    digest, size, first, end = sha256(), 0, b"", b""
    longest = max(map(len, secrets), default=0)
    for piece in pieces:
        seen = end + piece
        if any(secret in seen for secret in secrets):
            raise Withheld
        end = seen[len(seen) - longest :] if longest else b""
        digest.update(piece)
        size += len(piece)
        first = first + piece if size <= MOST_ANSWER else b""
    return body_of(first) if size <= MOST_ANSWER else Body(sha256=digest.hexdigest(), size=size)


def pieces_of(content: bytes, coding: bytes) -> Iterator[bytes]:
    """An answer, decompressed in pieces of at most `MOST_ANSWER` bytes: as a whole it may be much larger than it was sent."""
    if not coding:
        yield content
        return
    inflate = zlib.decompressobj(WINDOW_BITS[coding])
    while not inflate.eof:
        piece = inflate.decompress(content, MOST_ANSWER)
        content = inflate.unconsumed_tail
        if not (piece or content or inflate.eof):
            raise ValueError("the compressed answer has no end")
        yield piece


def chosen(fields: dict[bytes, bytes], names: tuple[str, ...]) -> dict[str, str]:
    """The headers with these names."""
    return {name: fields[key].decode("latin-1") for name in names if (key := name.encode()) in fields}


def secrets_of(headers: Headers) -> list[bytes]:
    """What a caller has shown to say who they are; a header may come several times, as cookies do behind some proxies."""
    found: list[bytes] = []
    for name, value in headers:
        if name not in CREDENTIALS:
            continue
        for part in value.replace(b";", b" ").split():
            secret = part.partition(b"=")[2] if name == b"cookie" else part
            if len(secret) >= SECRET:
                found.append(secret)
    return found
