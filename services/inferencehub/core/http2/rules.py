"""What a frame other than DATA, and a block of headers, must look like (RFC 9113). One stream makes the rules short."""

from __future__ import annotations

from collections.abc import Iterable

from inferencehub.core.http2.frames import (
    ACK,
    CONTINUATION,
    ENABLE_PUSH,
    FIRST_FRAME_LIMIT,
    FRAME_LIMIT,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    NUMBER,
    PADDED,
    PING,
    PRIORITY,
    PRIORITY_FRAME,
    PUSH_PROMISE,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAM,
    WINDOW,
    WINDOW_UPDATE,
    Broken,
)

OF_CONNECTION = frozenset((SETTINGS, PING, GOAWAY))  # on stream 0
OF_STREAM = frozenset((HEADERS, CONTINUATION, PRIORITY_FRAME, RST_STREAM, PUSH_PROMISE))
SIZES = {PING: 8, WINDOW_UPDATE: 4, RST_STREAM: 4, PRIORITY_FRAME: 5}
ALLOWED = {  # values of settings, from and to
    ENABLE_PUSH: (0, 1),
    INITIAL_WINDOW_SIZE: (0, WINDOW),
    MAX_FRAME_SIZE: (FIRST_FRAME_LIMIT, FRAME_LIMIT),
}
MOST_SETTINGS = 600  # bytes; six for each setting
REQUEST, RESPONSE = (":method", ":scheme", ":path", ":authority"), (":status",)
OF_HTTP1 = frozenset(("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"))


def check_frame(kind: int, flags: int, stream: int, payload: bytes, begun: bool, in_block: bool) -> None:
    """Check a frame by itself, and whether it may come now.

    Args:
        kind, flags, stream, payload: the frame.
        begun: whether the stream has begun.
        in_block: whether a block of headers has begun and not ended.

    Raises:
        Broken: if the frame breaks a rule.
    """
    if in_block is not (kind == CONTINUATION):
        raise Broken(f"a frame of type {kind} {'inside' if in_block else 'outside'} a block of headers")
    if (kind in OF_CONNECTION and stream) or (kind in OF_STREAM and not stream):
        raise Broken(f"a frame of type {kind} on stream {stream}")
    if kind in (RST_STREAM, WINDOW_UPDATE) and stream and (stream != STREAM or not begun):
        raise Broken(f"a frame of type {kind} on stream {stream}, which was not begun")
    if len(payload) != SIZES.get(kind, len(payload)):
        raise Broken(f"a frame of type {kind} of {len(payload)} bytes, expected {SIZES[kind]}")
    if kind == SETTINGS:
        check_settings(flags, payload)
    elif kind == WINDOW_UPDATE and not NUMBER.unpack(payload)[0] & WINDOW:
        raise Broken("a window that is opened by 0 bytes")
    elif kind == PRIORITY_FRAME and NUMBER.unpack_from(payload)[0] & WINDOW == stream:
        raise Broken("a stream that depends on itself")


def check_settings(flags: int, payload: bytes) -> None:
    """Check the content of a SETTINGS frame.

    Raises:
        Broken: if a value is out of range, or an acknowledgement has content.
    """
    if len(payload) % SETTING.size or len(payload) > MOST_SETTINGS or (payload and flags & ACK):
        raise Broken(f"settings of {len(payload)} bytes")
    for name, value in SETTING.iter_unpack(payload):
        least, most = ALLOWED.get(name, (0, value))
        if not least <= value <= most:
            raise Broken(f"setting {name} of {value}, expected {least} to {most}")


def block_of(flags: int, payload: bytes) -> bytes:
    """The part of a HEADERS frame that belongs to its block of headers.

    Raises:
        Broken: if it is too short, has more padding than content, or makes the stream depend on itself.
    """
    start, end = 0, len(payload)
    if flags & PADDED and payload:
        start, end = 1, end - payload[0]
    if flags & PRIORITY:
        if NUMBER.unpack_from(payload, start)[0] & WINDOW == STREAM:
            raise Broken("a stream that depends on itself")
        start += 5
    if start > end or (flags & PADDED and not payload):
        raise Broken("headers with more padding than content")
    return payload[start:end]


def check_headers(headers: Iterable[tuple[str, str]], pseudo: tuple[str, ...], needed: int) -> None:
    """Check the names of a block of headers (RFC 9113 8.2 and 8.3).

    Args:
        headers: names and values, in order.
        pseudo: the names with a colon that may be there, each once and before all others: REQUEST, RESPONSE, or () for
            trailers.
        needed: how many of these, from the first on, must be there and not empty.

    Raises:
        Broken: if they break a rule.
    """
    seen: dict[str, str] = {}
    regular = False
    for name, value in headers:
        if name.startswith(":"):
            if regular or name in seen or name not in pseudo:
                raise Broken(f"a header '{name[:80]}' that is unknown, repeated, or not at the beginning")
            seen[name] = value
            continue
        regular = True
        if name != name.lower() or name in OF_HTTP1 or (name == "te" and value != "trailers"):
            raise Broken(f"a header '{name[:80]}', which HTTP/2 does not allow")
    if missing := [name for name in pseudo[:needed] if not seen.get(name)]:
        raise Broken(f"no header '{missing[0]}'")
