"""Pipelined requests, `Expect`, and offers of another protocol (RFC 9112, 9.3; RFC 9110, 7.8 and 10.1.1)."""

from __future__ import annotations

from tests.gateway.http_api.corpus.pieces import BODY, CHUNKED, CHUNKS, SIZED, get, head, post

_EXPECT = b"Expect: 100-continue"
_H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
_WEBSOCKET = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)

PIPELINES: dict[str, bytes] = {
    "pipeline: two GET": get() + get(),
    "pipeline: two POST": post(SIZED) + post(SIZED),
    "pipeline: POST, GET": post(SIZED) + get(),
    "pipeline: GET, POST": get() + post(SIZED),
    "pipeline: chunked, POST": post(CHUNKED, body=CHUNKS) + post(SIZED),
    "pipeline: ten": get() * 5 + post(SIZED) * 5,
    "pipeline: behind a close": get(b"Connection: close") + get(),
    "pipeline: behind an unknown path": head(b"GET /absent HTTP/1.1") + get(),
    "pipeline: behind a wrong method": head(b"GET /predict HTTP/1.1") + get(),
    "pipeline: behind bad JSON": post(b"Content-Length: 1", body=b"{") + get(),
    "pipeline: empty line between": post(SIZED) + b"\r\n" + get(),
    "pipeline: bare LF between": post(SIZED) + b"\n" + get(),
    "pipeline: garbage behind a GET": get() + b"garbage\r\n\r\n",
    "pipeline: garbage behind a POST": post(SIZED) + b"garbage\r\n\r\n",
    "pipeline: NUL behind a POST": post(SIZED) + b"\x00" * 8,
    "pipeline: bad request behind a POST": post(SIZED) + get(b"A : b"),
    "pipeline: bad length behind a GET": get() + post(b"Content-Length: x"),
    "pipeline: half a request behind a GET": get() + b"GET /hea",
}

EXPECTATIONS: dict[str, bytes] = {
    "expect: continue, with the body": post(_EXPECT, SIZED),
    "expect: continue, capitals": post(b"EXPECT: 100-CONTINUE", SIZED),
    "expect: continue, body to come": post(_EXPECT, b"Content-Length: 4000", body=b""),
    "expect: continue, chunked": post(_EXPECT, CHUNKED, body=CHUNKS),
    "expect: continue, no body": get(_EXPECT),
    "expect: continue on an unknown path": head(b"POST /absent HTTP/1.1", _EXPECT, SIZED) + BODY,
    "expect: continue in HTTP/1.0": head(b"POST /predict HTTP/1.0", _EXPECT, SIZED) + BODY,
    "expect: continue in HTTP/1.0, body to come": head(
        b"POST /predict HTTP/1.0", _EXPECT, b"Content-Length: 4000"
    ),
    "expect: twice": post(_EXPECT, _EXPECT, SIZED),
    "expect: something else": post(b"Expect: cow", SIZED),
    "expect: something else as well": post(b"Expect: 100-continue, cow", SIZED),
    "expect: empty": post(b"Expect:", SIZED),
    "expect: body of 10 GB to come": post(_EXPECT, b"Content-Length: 10000000000", body=b""),
}

UPGRADES: dict[str, bytes] = {
    "upgrade: h2c on a GET": get(*_H2C),
    "upgrade: h2c on a POST": post(*_H2C, SIZED),
    "upgrade: h2c on a chunked POST": post(*_H2C, CHUNKED, body=CHUNKS),
    "upgrade: h2c in HTTP/1.0": head(b"GET /healthz HTTP/1.0", b"Connection: Upgrade", b"Upgrade: h2c"),
    "upgrade: h2c in HTTP/1.0, POST": head(
        b"POST /predict HTTP/1.0", b"Connection: Upgrade", b"Upgrade: h2c", SIZED
    )
    + BODY,
    "upgrade: h2c with a request behind": get(*_H2C) + get(),
    "upgrade: websocket": get(*_WEBSOCKET),
    "upgrade: websocket on a POST": post(*_WEBSOCKET, SIZED),
    "upgrade: websocket, frames behind": get(*_WEBSOCKET) + b"\x81\x85\x00\x00\x00\x00hello",
    "upgrade: without Connection": post(b"Upgrade: h2c", SIZED),
    "upgrade: Connection without it": post(b"Connection: Upgrade", SIZED),
    "upgrade: unknown protocol": post(b"Connection: upgrade", b"Upgrade: cow/1", SIZED),
    "upgrade: TLS/1.3": get(b"Connection: Upgrade", b"Upgrade: TLS/1.3, HTTP/1.1"),
    "upgrade: with close": get(b"Connection: close, Upgrade", b"Upgrade: h2c"),
    "upgrade: empty": get(b"Connection: Upgrade", b"Upgrade:"),
    "upgrade: and a head of 100 KiB": get(*_H2C, b"A: " + b"b" * 100 * 2**10),
    "upgrade: and Expect": post(*_H2C, _EXPECT, SIZED),
    "upgrade: and both lengths": post(*_H2C, SIZED, CHUNKED),
}

EXCHANGES = PIPELINES | EXPECTATIONS | UPGRADES
