"""Chunked bodies: sizes, extensions, ends of lines and trailers (RFC 9112, 7.1)."""

from __future__ import annotations

from tests.gateway.http_api.corpus.pieces import BODY, CHUNK, CHUNKS, HIDDEN, LAST, chunks

TAIL = b"\r\n" + BODY + b"\r\n" + LAST  # all that comes behind the size of the only chunk


def trailed(*lines: bytes) -> bytes:
    """A good chunked body with these lines behind its last chunk."""
    return chunks(CHUNK + b"0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n")


SIZES: dict[str, bytes] = {
    "chunk: two": chunks(b"8\r\n" + BODY[:8] + b"\r\n8\r\n" + BODY[8:] + b"\r\n" + LAST),
    "chunk: of one byte each": chunks(b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + LAST),
    "chunk: leading zeros": chunks(b"0010" + TAIL),
    "chunk: twenty leading zeros": chunks(b"0" * 20 + b"10" + TAIL),
    "chunk: zeros as the last": chunks(CHUNK + b"000\r\n\r\n"),
    "chunk: capitals": chunks(b"A\r\n" + BODY[:10] + b"\r\n6\r\n" + BODY[10:] + b"\r\n" + LAST),
    "chunk: 0x": chunks(b"0x10" + TAIL),
    "chunk: plus": chunks(b"+10" + TAIL),
    "chunk: minus": chunks(b"-10" + TAIL),
    "chunk: underscore": chunks(b"1_0" + TAIL),
    "chunk: no digits": chunks(b"xyz" + TAIL),
    "chunk: empty size": chunks(TAIL),
    "chunk: space in front": chunks(b" 10" + TAIL),
    "chunk: space behind": chunks(b"10 " + TAIL),
    "chunk: tab behind": chunks(b"10\t" + TAIL),
    "chunk: digit, then a letter": chunks(b"10g" + TAIL),
    "chunk: of 2^31": chunks(b"80000000" + TAIL),
    "chunk: of 2^63": chunks(b"8" + b"0" * 15 + TAIL),
    "chunk: of 2^64 - 1": chunks(b"f" * 16 + TAIL),
    "chunk: of 2^64 + 16": chunks(b"1" + b"0" * 14 + b"10" + TAIL),
    "chunk: of 40 digits": chunks(b"f" * 40 + TAIL),
    "chunk: shorter than its data": chunks(b"f" + TAIL),
    "chunk: longer than its data": chunks(b"11" + TAIL),
    "chunk: no last one": chunks(CHUNK),
    "chunk: nothing but the last": chunks(LAST),
    "chunk: last one without an end": chunks(CHUNK + b"0\r\n"),
    "chunk: behind the last": chunks(CHUNKS + CHUNKS),
    "chunk: a request behind the last": chunks(CHUNKS + HIDDEN),
}

EXTENSIONS: dict[str, bytes] = {
    "extension: name": chunks(b"10;a" + TAIL),
    "extension: name and value": chunks(b"10;a=b" + TAIL),
    "extension: quoted": chunks(b'10;a="b;c"' + TAIL),
    "extension: quoted, never closed": chunks(b'10;a="b' + TAIL),
    "extension: spaces around": chunks(b"10 ; a = b" + TAIL),
    "extension: two": chunks(b"10;a=b;c=d" + TAIL),
    "extension: nothing behind the semicolon": chunks(b"10;" + TAIL),
    "extension: no name": chunks(b"10;=b" + TAIL),
    "extension: on the last": chunks(CHUNK + b"0;a=b\r\n\r\n"),
    "extension: bare LF": chunks(b"10;a\n" + BODY + b"\r\n" + LAST),
    "extension: bare LF within": chunks(b"10;a\nb" + TAIL),
    "extension: bare CR within": chunks(b"10;a\rb" + TAIL),
    "extension: NUL": chunks(b"10;a\x00b" + TAIL),
    "extension: non-ASCII": chunks(b"10;a=\xe9" + TAIL),
    "extension: of 1 KiB": chunks(b"10;" + b"a" * 2**10 + TAIL),
    "extension: of 200 KiB": chunks(b"10;" + b"a" * 200 * 2**10 + TAIL),
}

ENDS: dict[str, bytes] = {
    "chunk end: bare LF behind the size": chunks(b"10\n" + BODY + b"\r\n" + LAST),
    "chunk end: bare LF behind the data": chunks(b"10\r\n" + BODY + b"\n" + LAST),
    "chunk end: bare LF behind the last size": chunks(CHUNK + b"0\n\r\n"),
    "chunk end: bare LF as the end": chunks(CHUNK + b"0\r\n\n"),
    "chunk end: bare LF everywhere": chunks(CHUNKS.replace(b"\r\n", b"\n")),
    "chunk end: bare CR behind the size": chunks(b"10\r" + BODY + b"\r\n" + LAST),
    "chunk end: bare CR behind the data": chunks(b"10\r\n" + BODY + b"\r" + LAST),
    "chunk end: nothing behind the data": chunks(b"10\r\n" + BODY + LAST),
    "chunk end: two other bytes behind the data": chunks(b"10\r\n" + BODY + b"XX" + LAST),
    "chunk end: two CRLF behind the data": chunks(b"10\r\n" + BODY + b"\r\n\r\n" + LAST),
}

TRAILERS: dict[str, bytes] = {
    "trailer: one": trailed(b"X-Sum: 1"),
    "trailer: two": trailed(b"X-Sum: 1", b"X-Other: 2"),
    "trailer: Content-Length": trailed(b"Content-Length: 500"),
    "trailer: Transfer-Encoding": trailed(b"Transfer-Encoding: chunked"),
    "trailer: Host": trailed(b"Host: other"),
    "trailer: Authorization": trailed(b"Authorization: Bearer x"),
    "trailer: Connection: close": trailed(b"Connection: close"),
    "trailer: Upgrade": trailed(b"Connection: Upgrade", b"Upgrade: h2c"),
    "trailer: X-Request-Id": trailed(b"X-Request-Id: other"),
    "trailer: no colon": trailed(b"nonsense"),
    "trailer: space before the colon": trailed(b"X-Sum : 1"),
    "trailer: folded": trailed(b"X-Sum: 1", b" 2"),
    "trailer: bare LF": chunks(CHUNK + b"0\r\nX-Sum: 1\n\r\n"),
    "trailer: NUL": trailed(b"X-Sum: \x00"),
    "trailer: never ends": chunks(CHUNK + b"0\r\nX-Sum: 1\r\n"),
    "trailer: of 200 KiB": trailed(b"X-Sum: " + b"a" * 200 * 2**10),
}

CHUNKED_BODIES = SIZES | EXTENSIONS | ENDS | TRAILERS
