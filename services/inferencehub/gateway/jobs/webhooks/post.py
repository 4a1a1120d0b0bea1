"""One POST to a receiver: to an address that was checked, without redirects, proxies, cookies and passwords of others.

Each message has a connection of its own. The address is checked at its socket, after the name was resolved and right
before it is connected to: so no second answer of DNS comes between. TLS verifies the name all the same.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from aiohttp import (
    ClientConnectorDNSError,
    ClientError,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_exceptions import ClientConnectorError
from yarl import URL

from inferencehub.core.files.watched import BadFile
from inferencehub.gateway.jobs.webhooks.addresses import may_call
from inferencehub.gateway.jobs.webhooks.retries import Answer
from inferencehub.gateway.jobs.webhooks.targets import Target

ATTEMPT_S = 10.0
# Of an answer's body; what the receiver still has to say is of no use, but some fail if nobody reads it.
MOST_READ, READ_S = 4096, 1.0
MOST_HEADERS = 64  # of an answer, of 8 KB each
LOOKUPS = 64  # threads that wait for DNS: one for each delivery, for some names have no answer
HEADERS = {
    "content-type": "application/json",
    "user-agent": "InferenceHub-Webhooks/1",
    "accept-encoding": "identity",
}


class AddressRefused(OSError):
    """An address that webhooks may not call."""


class Post:
    """See the module's text.

    Args:
        authorities: file with the authorities of receivers' certificates, as PEM; "" for those of the system.
        attempt_s: seconds for all of it, from DNS to the answer.

    Raises:
        BadFile: if the file can't be used.
    """

    def __init__(self, authorities: str, attempt_s: float = ATTEMPT_S) -> None:
        self._attempt_s = attempt_s
        try:
            self._context = ssl.create_default_context(cafile=authorities or None)
        except (OSError, ssl.SSLError) as error:
            raise BadFile(f"HUB_WEBHOOK_CA names {authorities}, which cannot be used: {error}") from None
        self._resolver = Resolver()

    async def __call__(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a message; what the receiver says in time."""
        try:
            async with asyncio.timeout(self._attempt_s):
                return await self._send(target, headers, body)
        except TimeoutError:
            return Answer(0, f"no answer within {self._attempt_s:g} s")
        except ClientConnectorDNSError:
            return Answer(0, "its host is not known")
        except ClientSSLError:
            return Answer(0, "TLS failed: its certificate is not one that is trusted for its name")
        except ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                return Answer(0, "its host has an address that webhooks may not call")
            return Answer(0, "no connection")
        except (ClientError, OSError, ValueError):
            return Answer(0, "no answer of HTTP")

    def close(self) -> None:
        """Look up no more names."""
        self._resolver.threads.shutdown(wait=False, cancel_futures=True)

    async def _send(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        connector = TCPConnector(
            resolver=self._resolver,
            use_dns_cache=False,
            force_close=True,
            ssl=self._context,
            socket_factory=partial(checked_socket, target),
        )
        async with (
            ClientSession(
                connector=connector,
                cookie_jar=DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                read_bufsize=MOST_READ,
                max_headers=MOST_HEADERS,
                timeout=ClientTimeout(total=None),
            ) as session,
            session.post(
                URL(target.url, encoded=True),
                data=body,
                headers={**HEADERS, **headers},
                allow_redirects=False,
            ) as answer,
        ):
            try:
                async with asyncio.timeout(READ_S):
                    left = MOST_READ
                    while left > 0 and (part := await answer.content.read(left)):
                        left -= len(part)
            except (TimeoutError, ClientError):
                pass  # its status says all
            return Answer(answer.status, retry_after=answer.headers.get("retry-after", ""))


class Resolver(AbstractResolver):
    """Names to addresses, as the system has them. Threads of its own wait, and one for all who ask for the same name."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="webhooks-dns")
        self._asked: dict[tuple[str, int, int], asyncio.Future[list[Any]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See `AbstractResolver`."""
        key = host, port, int(family)
        found = self._asked.get(key)
        if found is None:
            look = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
            found = asyncio.get_running_loop().run_in_executor(self.threads, look)
            self._asked[key] = found
            found.add_done_callback(partial(self._done, key))
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=family,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for family, _, proto, _, address in await asyncio.shield(found)
        ]

    async def close(self) -> None:
        """See `AbstractResolver`."""

    def _done(self, key: tuple[str, int, int], found: asyncio.Future[list[Any]]) -> None:
        del self._asked[key]
        if not found.cancelled():
            found.exception()  # also if who asked has left


def checked_socket(target: Target, found: tuple[Any, ...]) -> socket.socket:
    """A socket for an address that is about to be connected to.

    Raises:
        AddressRefused: if webhooks may not call it.
    """
    family, kind, proto, _, address = found
    if not may_call(address[0], target.private, target.loopback):
        raise AddressRefused(f"{address[0]} may not be called")
    return socket.socket(family, kind, proto)
