"""The pieces that the shapes of the corpus are made of: good requests, and functions that change one thing in them."""

from __future__ import annotations

BODY = b'{"features":[1]}'
CHUNK = b"%x\r\n%b\r\n" % (len(BODY), BODY)
LAST = b"0\r\n\r\n"
CHUNKS = CHUNK + LAST
SIZED = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
# A whole request that a body may hide: answered where its bytes are taken for a request.
HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"


def head(line: bytes, *fields: bytes) -> bytes:
    """A request line and fields, each without its CRLF, with a Host in front of the fields."""
    return b"\r\n".join([line, b"Host: hub", *fields, b"", b""])


def bare_head(line: bytes, *fields: bytes) -> bytes:
    """As `head`, without a Host."""
    return b"\r\n".join([line, *fields, b"", b""])


def get(*fields: bytes) -> bytes:
    """A good GET with more fields."""
    return head(b"GET /healthz HTTP/1.1", *fields)


def post(*fields: bytes, body: bytes = BODY) -> bytes:
    """A good POST with these fields, which have to say where the body ends."""
    return head(b"POST /predict HTTP/1.1", *fields) + body


def sized(value: bytes, body: bytes = BODY) -> bytes:
    """A POST with one Content-Length as it is given."""
    return post(b"Content-Length: " + value, body=body)


def coded(value: bytes, body: bytes = CHUNKS) -> bytes:
    """A POST with one Transfer-Encoding as it is given, behind the colon and a space."""
    return post(b"Transfer-Encoding: " + value, body=body)


def chunks(body: bytes) -> bytes:
    """A POST whose chunked body is given byte by byte."""
    return post(CHUNKED, body=body)
