"""A call over HTTP with its answer, as a line of JSON: what `HUB_RECORD` writes, and `inferencehub replay` reads.

A body that is UTF-8 is a text of exactly these bytes, any other one is base64. So a line can be read, searched and changed with
the tools for JSON lines.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

import msgspec

VERSION = 1
# Headers that a line has, by name in lower case. All others are left out: those of credentials, and whatever else callers send.
REQUEST_HEADERS = (
    "content-type",
    "accept",
    "accept-encoding",
    "inference-header-content-length",
    "x-request-timeout-ms",
)
ANSWER_HEADERS = (
    "content-type",
    "inference-header-content-length",
    "retry-after",
    "x-served-by",
    "x-should-retry",
)


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """The bytes of a request or of an answer; at most one of the fields is set.

    Args:
        text: if they are UTF-8.
        base64: if they are not.
        sha256: hexadecimal; if they are too many to be kept, and then `size` is how many.
    """

    text: str = ""
    base64: str = ""
    sha256: str = ""
    size: int = 0

    @property
    def kept(self) -> bool:
        """Whether `content` returns them."""
        return not self.sha256

    def content(self) -> bytes:
        """The bytes.

        Raises:
            ValueError: if the base64 is none.
        """
        return b64decode(self.base64, validate=True) if self.base64 else self.text.encode()


class RecordedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call and its answer.

    Args:
        version: of the format of the line; `VERSION` for this one.
        time: when its head had come, in seconds since 1970.
        id, trace_id: those of the access line; `trace_id` is "" without traces.
        method, path: of its target; the path has no query.
        headers: those of `REQUEST_HEADERS` that came, by name in lower case.
        body: that of the request, decompressed.
        status, answer_headers: of the answer; headers are those of `ANSWER_HEADERS`.
        answer: its body, decompressed.
        seconds: from the head of the request to the end of the answer.
        server_timing: the header `Server-Timing` of the answer.
    """

    version: int
    time: float
    id: str
    trace_id: str
    method: str
    path: str
    headers: dict[str, str]
    body: Body
    status: int
    answer_headers: dict[str, str]
    answer: Body
    seconds: float
    server_timing: str


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RecordedCall).decode


def body_of(content: bytes) -> Body:
    """Bytes that are kept as they are."""
    try:
        return Body(text=content.decode())
    except UnicodeDecodeError:
        return Body(base64=b64encode(content).decode())


def read_call(line: bytes) -> RecordedCall:
    """The call of a line.

    Raises:
        ValueError: if it is none, or of another version.
    """
    call = _decode(line)
    if call.version != VERSION:
        raise ValueError(f"version {call.version}, expected {VERSION}")
    if not call.path.startswith("/"):  # behind the address of a gateway, "@elsewhere" would name another host
        raise ValueError(f"path is '{call.path[:80]}', expected one that begins with a slash")
    return call
