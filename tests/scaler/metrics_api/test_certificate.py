"""The certificate lasts, is renewed in time, and is trusted across the renewal."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from inferencehub.scaler.metrics_api.certificate import Certificate, from_secret, make, to_secret
from tests.authority import Authority, client

NAMES = ("localhost", "scaler.prod", "scaler.prod.svc")


async def shakes_hands(certificate: Certificate, callers: Authority, trusted: str) -> bool:
    """Whether a client that trusts `trusted` speaks to a server with the certificate."""
    context = certificate.context(callers.certificate.read_text())
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        _, writer = await asyncio.open_connection("localhost", port, ssl=client(trusted))
    except ssl.SSLCertVerificationError:
        return False
    finally:
        server.close()
    writer.close()
    return True


def test_a_new_one_fits_until_it_is_time_to_renew() -> None:
    made = make(NAMES, None)
    assert made.fits(NAMES, datetime.now(UTC))
    assert made.fits(NAMES[:1], datetime.now(UTC))
    assert made.fits(NAMES, datetime.now(UTC) + timedelta(days=240))
    assert not made.fits(NAMES, datetime.now(UTC) + timedelta(days=250))
    assert not made.fits((*NAMES, "other.prod.svc"), datetime.now(UTC))
    assert not make(NAMES, None, timedelta(days=90)).fits(NAMES, datetime.now(UTC))


@pytest.mark.parametrize("part", ["chain", "key"])
def test_a_broken_one_does_not_fit(part: str) -> None:
    made, other = make(NAMES, None), make(NAMES, None)
    parts = {"chain": made.chain, "key": made.key, "authority": made.authority}
    for broken in ("", "no PEM", getattr(other, part)):
        assert not Certificate(**{**parts, part: broken}).fits(NAMES, datetime.now(UTC))


async def test_who_trusts_the_new_one_trusts_the_one_before(tmp_path: Path) -> None:
    callers = Authority(tmp_path, "cluster")
    first = make(NAMES, None)
    second = make(NAMES, first)
    third = make(NAMES, second)
    fourth = make(NAMES, third)
    assert await shakes_hands(second, callers, second.authority)
    assert await shakes_hands(first, callers, second.authority)
    assert not await shakes_hands(third, callers, second.authority)
    assert await shakes_hands(first, callers, third.authority)
    assert not await shakes_hands(first, callers, fourth.authority)
    assert fourth.authority.count("BEGIN CERTIFICATE") == 3


def test_a_secret_holds_it_and_keeps_the_rest() -> None:
    made = make(NAMES, None)
    empty = {"metadata": {"name": "s", "resourceVersion": "7"}, "data": {"note": b64encode(b"mine").decode()}}
    assert from_secret(empty) is None
    assert from_secret({"metadata": {}}) is None
    secret = to_secret(empty, made)
    assert from_secret(secret) == made
    assert secret["metadata"]["resourceVersion"] == "7"
    assert secret["data"]["note"] == b64encode(b"mine").decode()
