"""Request lines: methods, targets, Host and versions (RFC 9112, 2.3 and 3)."""

from __future__ import annotations

from tests.gateway.http_api.corpus.pieces import BODY, SIZED, bare_head, get, head


def line(whole: bytes) -> bytes:
    """A request with this request line, and a Host."""
    return head(whole)


def target(value: bytes) -> bytes:
    """A GET of this target."""
    return head(b"GET " + value + b" HTTP/1.1")


def hosts(*fields: bytes) -> bytes:
    """A GET with these fields alone."""
    return bare_head(b"GET /healthz HTTP/1.1", *fields)


def version(value: bytes, *fields: bytes) -> bytes:
    """A GET of this version."""
    return head(b"GET /healthz " + value, *fields)


METHODS: dict[str, bytes] = {
    "method: HEAD": line(b"HEAD /healthz HTTP/1.1"),
    "method: OPTIONS": line(b"OPTIONS /healthz HTTP/1.1"),
    "method: DELETE": line(b"DELETE /healthz HTTP/1.1"),
    "method: PUT without a body": line(b"PUT /healthz HTTP/1.1"),
    "method: TRACE": line(b"TRACE /healthz HTTP/1.1"),
    "method: PATCH": head(b"PATCH /predict HTTP/1.1", SIZED) + BODY,
    "method: PROPFIND": line(b"PROPFIND /healthz HTTP/1.1"),
    "method: PRI": line(b"PRI /healthz HTTP/1.1"),
    "method: QUERY": head(b"QUERY /predict HTTP/1.1", SIZED) + BODY,
    "method: unknown": line(b"COW /healthz HTTP/1.1"),
    "method: unknown, with a body": head(b"COW /predict HTTP/1.1", SIZED) + BODY,
    "method: lower case": line(b"get /healthz HTTP/1.1"),
    "method: mixed case": line(b"Get /healthz HTTP/1.1"),
    "method: begins as a known one": line(b"GETS /healthz HTTP/1.1"),
    "method: with a hyphen": line(b"M-SEARCH /healthz HTTP/1.1"),
    "method: signs of a token": line(b"!#$ /healthz HTTP/1.1"),
    "method: no token": line(b"G(T /healthz HTTP/1.1"),
    "method: NUL": line(b"GE\x00T /healthz HTTP/1.1"),
    "method: empty": line(b" /healthz HTTP/1.1"),
    "method: of 100 bytes": line(b"A" * 100 + b" /healthz HTTP/1.1"),
    "method: GET with a body": head(b"GET /healthz HTTP/1.1", SIZED) + BODY,
    "method: HEAD with a body": head(b"HEAD /healthz HTTP/1.1", SIZED) + BODY,
    "method: DELETE with a body": head(b"DELETE /predict HTTP/1.1", SIZED) + BODY,
    "method: CONNECT with an authority": bare_head(b"CONNECT hub:80 HTTP/1.1", b"Host: hub:80"),
    "method: CONNECT with a path": line(b"CONNECT /healthz HTTP/1.1"),
    "method: CONNECT with a length": head(b"CONNECT hub:80 HTTP/1.1", SIZED) + BODY,
}

TARGETS: dict[str, bytes] = {
    "target: query": target(b"/healthz?a=b&c=d"),
    "target: escaped": target(b"/health%7a"),
    "target: escaped NUL": target(b"/%00"),
    "target: escape of no digits": target(b"/%zz"),
    "target: escape cut off": target(b"/healthz?%"),
    "target: escaped, no UTF-8": target(b"/%ff"),
    "target: fragment": target(b"/healthz#a"),
    "target: two slashes": target(b"//healthz"),
    "target: dots": target(b"/../healthz"),
    "target: backslash": target(b"/a\\b"),
    "target: signs that should be escaped": target(b'/a"<>^`{|}'),
    "target: empty": b"GET  HTTP/1.1\r\nHost: hub\r\n\r\n",
    "target: missing": line(b"GET HTTP/1.1"),
    "target: no slash": target(b"healthz"),
    "target: question mark alone": target(b"?a=b"),
    "target: space within": target(b"/healthz a"),
    "target: tab within": target(b"/healthz\ta"),
    "target: NUL": target(b"/healthz\x00"),
    "target: 0x01": target(b"/healthz\x01"),
    "target: DEL": target(b"/healthz\x7f"),
    "target: UTF-8": target("/é".encode()),
    "target: 0xFF": target(b"/\xff"),
    "target: bare CR": target(b"/healthz\r"),
    "target: of 8 KiB": target(b"/" + b"a" * 2**13),
    "target: of 60 KiB": target(b"/" + b"a" * 60 * 2**10),
    "target: of 100 KiB": target(b"/" + b"a" * 100 * 2**10),
    "target: asterisk of OPTIONS": line(b"OPTIONS * HTTP/1.1"),
    "target: asterisk of GET": target(b"*"),
    "target: authority of GET": target(b"hub:80"),
    "target: absolute": target(b"http://hub/healthz"),
    "target: absolute, capitals": target(b"HTTP://HUB/healthz"),
    "target: absolute, another host": target(b"http://other/healthz"),
    "target: absolute, no path": target(b"http://hub"),
    "target: absolute, query without a path": target(b"http://hub?a"),
    "target: absolute, port": target(b"http://hub:80/healthz"),
    "target: absolute, bad port": target(b"http://hub:x/healthz"),
    "target: absolute, user": target(b"http://user@hub/healthz"),
    "target: absolute, no host": target(b"http:///healthz"),
    "target: absolute, https": target(b"https://hub/healthz"),
    "target: absolute, another scheme": target(b"ftp://hub/healthz"),
    "target: absolute, IPv6": target(b"http://[::1]/healthz"),
    "target: absolute POST": head(b"POST http://hub/predict HTTP/1.1", SIZED) + BODY,
    "target: absolute without Host": bare_head(b"GET http://hub/healthz HTTP/1.1"),
    "target: two spaces in front": line(b"GET  /healthz HTTP/1.1"),
    "target: two spaces behind": line(b"GET /healthz  HTTP/1.1"),
    "target: tab in front": line(b"GET\t/healthz HTTP/1.1"),
    "target: tab behind": line(b"GET /healthz\tHTTP/1.1"),
    "target: space at the end of the line": line(b"GET /healthz HTTP/1.1 "),
}

HOSTS: dict[str, bytes] = {
    "host: missing": hosts(),
    "host: empty": hosts(b"Host:"),
    "host: twice, equal": hosts(b"Host: hub", b"Host: hub"),
    "host: twice, unequal": hosts(b"Host: hub", b"Host: other"),
    "host: list": hosts(b"Host: hub, other"),
    "host: port": hosts(b"Host: hub:3000"),
    "host: empty port": hosts(b"Host: hub:"),
    "host: bad port": hosts(b"Host: hub:x"),
    "host: port of six digits": hosts(b"Host: hub:999999"),
    "host: IPv6": hosts(b"Host: [::1]:3000"),
    "host: IPv6, never closed": hosts(b"Host: [::1"),
    "host: user": hosts(b"Host: user@hub"),
    "host: slash": hosts(b"Host: hub/a"),
    "host: space within": hosts(b"Host: hub a"),
    "host: underscore": hosts(b"Host: hub_a"),
    "host: escaped": hosts(b"Host: h%75b"),
    "host: UTF-8": hosts("Host: é".encode()),
    "host: quote": hosts(b'Host: "hub"'),
    "host: NUL": hosts(b"Host: hub\x00"),
    "host: missing on a POST": bare_head(b"POST /predict HTTP/1.1", SIZED) + BODY,
    "host: missing in HTTP/1.0": bare_head(b"GET /healthz HTTP/1.0"),
    "host: twice in HTTP/1.0": bare_head(b"GET /healthz HTTP/1.0", b"Host: a", b"Host: b"),
}

VERSIONS: dict[str, bytes] = {
    "version: 0.9 as it was": b"GET /healthz\r\n",
    "version: 0.9 as it was, POST": b"POST /predict\r\n\r\n",
    "version: none, with fields": line(b"GET /healthz"),
    "version: HTTP/0.9": version(b"HTTP/0.9"),
    "version: HTTP/1.0": version(b"HTTP/1.0"),
    "version: HTTP/1.0, keep-alive": version(b"HTTP/1.0", b"Connection: keep-alive"),
    "version: HTTP/1.0, Keep-Alive, x": version(b"HTTP/1.0", b"Connection: Keep-Alive, x"),
    "version: HTTP/1.0, close": version(b"HTTP/1.0", b"Connection: close"),
    "version: HTTP/1.0, keep-alive, POST": head(b"POST /predict HTTP/1.0", b"Connection: keep-alive", SIZED)
    + BODY,
    "version: HTTP/1.0 POST without a length": head(b"POST /predict HTTP/1.0") + BODY,
    "version: HTTP/1.1, keep-alive": version(b"HTTP/1.1", b"Connection: keep-alive"),
    "version: HTTP/1.2": version(b"HTTP/1.2"),
    "version: HTTP/1.9": version(b"HTTP/1.9"),
    "version: HTTP/2.0": version(b"HTTP/2.0"),
    "version: HTTP/2": version(b"HTTP/2"),
    "version: HTTP/3.0": version(b"HTTP/3.0"),
    "version: HTTP/1": version(b"HTTP/1"),
    "version: HTTP/1.": version(b"HTTP/1."),
    "version: HTTP/1.10": version(b"HTTP/1.10"),
    "version: HTTP/11.1": version(b"HTTP/11.1"),
    "version: HTTP/1,1": version(b"HTTP/1,1"),
    "version: lower case": version(b"http/1.1"),
    "version: another protocol": version(b"ICE/1.0"),
    "version: RTSP/1.0": version(b"RTSP/1.0"),
    "version: HTTPS/1.1": version(b"HTTPS/1.1"),
    "version: preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version: hello of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 60,
    "version: answer of a server": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version: 1.0 behind 1.1": get() + version(b"HTTP/1.0"),
    "version: 1.1 behind a kept 1.0": version(b"HTTP/1.0", b"Connection: keep-alive") + get(),
}

REQUEST_LINES = METHODS | TARGETS | HOSTS | VERSIONS
