"""When a certificate ends, as openssl says it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.tls.expiry import end_of
from tests.authority import Authority


def told(chain: Path) -> float:
    """What openssl says."""
    asked = ["openssl", "x509", "-in", str(chain), "-noout", "-enddate", "-dateopt", "iso_8601"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    text = done.stdout.strip().removeprefix("notAfter=")
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def made(folder: Path, days: int) -> Path:
    """A certificate that ends in so many days."""
    chain = folder / f"{days}.crt"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    more = ["-subj", "/CN=x", "-days", str(days), "-keyout", str(folder / "x.key"), "-out", str(chain)]
    subprocess.run([*new, *more], check=True, capture_output=True)
    return chain


@pytest.mark.parametrize("days", [1, 365, 20_000])  # the last one is a time of the other kind
def test_it_ends_when_openssl_says(tmp_path: Path, days: int) -> None:
    chain = made(tmp_path, days)
    assert end_of(chain.read_bytes()) == told(chain) == pytest.approx(time() + days * 86_400, abs=60)


def test_of_a_chain_the_first_end_counts(tmp_path: Path) -> None:
    long, short = (made(tmp_path, days) for days in (90, 30))
    assert end_of(long.read_bytes() + b"# and\n" + short.read_bytes()) == told(short)


def test_what_is_no_certificate_has_no_end(tmp_path: Path) -> None:
    whole = made(tmp_path, 1).read_bytes()
    for broken in (
        b"",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        whole.replace(b"M", b"%"),
    ):
        assert end_of(broken) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(body: bytes) -> None:
    pem = b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----"
    assert end_of(pem) is None


def test_a_certificate_that_is_used_knows_its_end(tmp_path: Path) -> None:
    chain, key = Authority(tmp_path, "authority").signed("localhost")
    assert Certificate("HUB_TLS", str(chain), str(key)).ends == told(chain)
