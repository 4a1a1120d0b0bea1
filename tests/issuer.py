"""An identity provider: it signs tokens, and a server of its own, in a process of its own, gives out its public keys.

    python -m tests.issuer DIRECTORY PORT [CERTIFICATE KEY]

The server gives the files of a directory; besides, `/slow` never ends, `/huge` is too large, `/elsewhere` leads to another
host name.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep, time
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.ports import free_port

NAME, AUDIENCE = "https://issuer.example", "hub"
Key = RSAKey | ECKey | OKPKey


class Issuer:
    """Signs tokens with keys of three kinds."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {
            "RS256": RSAKey.generate_key(2048, {"kid": "rsa"}),
            "ES256": ECKey.generate_key("P-256", {"kid": "ec"}),
            "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
        }

    def key_set(self, *algorithms: str) -> bytes:
        """The public keys of these algorithms, or all, as a JSON Web Key Set."""
        keys = [self.keys[name] for name in algorithms or self.keys]
        return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()

    def token(self, algorithm: str = "RS256", head: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that is good for five minutes, but for what the arguments change; a claim that is None is left out."""
        key = self.keys[algorithm]
        all_claims = {"iss": NAME, "aud": AUDIENCE, "sub": "ada", "exp": int(time()) + 300, **claims}
        all_claims = {name: value for name, value in all_claims.items() if value is not None}
        header = {"alg": algorithm, "kid": key.kid, **(head or {})}
        return jwt.encode(header, all_claims, key, algorithms=[algorithm])


class Keys(SimpleHTTPRequestHandler):
    """The server; see the module's text."""

    def do_GET(self) -> None:
        """Answer, well or not."""
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b" ")
                sleep(0.1)
        elif self.path == "/huge":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b" " * 2**21)
        elif self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", f"http://{self.headers['Host']}/keys.json")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@asynccontextmanager
async def serving(directory: Path, *certificate: Path) -> AsyncIterator[str]:
    """The server of an issuer in a process of its own, over TLS with a certificate and its key; gives its address."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.issuer", str(directory), str(port), *map(str, certificate)
    )
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.02)
        yield f"{'https' if certificate else 'http'}://localhost:{port}"
    finally:
        process.kill()
        await process.wait()


def main(directory: str, port: str, *certificate: str) -> None:
    """Serve until the process ends."""
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), partial(Keys, directory=directory))
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
