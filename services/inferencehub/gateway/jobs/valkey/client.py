"""Clients of Valkey or Redis: of one server, or of the one that sentinels say is the master now.

A connection asks the sentinels where the master is each time it is made. One that is told READONLY, for its server is a master
no longer, is closed. So after a failover the next message goes to the new master.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from inferencehub.gateway.settings.jobs import SENTINELS

CONNECT_S, ANSWER_S = 2.0, 5.0
SENTINEL_S = 1.0  # to connect to a sentinel, and for its answer; then the next one is asked
SENTINEL_PORT = 26379


class Clients(NamedTuple):
    """The client of the server, and who says which one it is; None if its URL does."""

    server: Redis
    sentinels: Sentinel | None

    @property
    def where(self) -> str:
        """The host and port of the server, or those of the sentinels, for sentences; without user and password."""
        if self.sentinels is None:
            return place_of(self.server)
        return f"what {', '.join(map(place_of, self.sentinels.sentinels))} call the master"

    async def close(self) -> None:
        """Disconnect."""
        await self.server.aclose()
        if self.sentinels is not None:
            for one in self.sentinels.sentinels:
                await one.aclose()


def clients_of(url: str, most: int, authorities: str) -> Clients:
    """The clients of a URL, which retry nothing.

    Args:
        url: one for which `is_store` is true.
        most: connections to the server.
        authorities: file with those that sign certificates, as PEM; "" for those of the system.
    """
    verified: dict[str, Any] = {"ssl_ca_certs": authorities} if authorities else {}
    limits: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": ANSWER_S,
        "retry": Retry(NoBackoff(), 0),
        # With RESP3, redis 8.1 takes a connection that the server has closed for a good one: https://github.com/redis/redis-py/issues/4252
        "protocol": 2,
    }
    match = SENTINELS.fullmatch(url)
    if match is None:
        return Clients(Redis.from_url(url, **limits, **verified, max_connections=most), None)
    tls = {"ssl": True, **verified} if url.startswith("rediss") else {}
    user, colon, password = (match["who"] or "").partition(":")
    asked = {name: values[0] for name, values in parse_qs(match["options"] or "").items()}
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [address_of(one) for one in match["hosts"].split(",")],
        sentinel_kwargs={
            **limits,
            **tls,
            "socket_connect_timeout": SENTINEL_S,
            "socket_timeout": SENTINEL_S,
            "username": asked.get("sentinel_username"),
            "password": asked.get("sentinel_password"),
        },
    )
    server = sentinels.master_for(
        unquote(match["service"]),
        **limits,
        **tls,
        max_connections=most,
        username=unquote(user) or None,
        password=unquote(password) if colon else None,
        db=int(match["db"] or 0),
    )
    return Clients(server, sentinels)


def address_of(text: str) -> tuple[str, int]:
    """Host and port of a sentinel."""
    found = urlsplit(f"//{text}")
    return found.hostname or "", found.port or SENTINEL_PORT


def place_of(client: Redis) -> str:
    """The host and port of a client."""
    known: dict[str, Any] = client.connection_pool.connection_kwargs
    return f"{known.get('host', 'localhost')}:{known.get('port', 6379)}"
