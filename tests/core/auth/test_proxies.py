"""The address of a caller behind proxies: whatever the caller sends, it cannot choose its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencehub.core.auth.proxies import address_behind, holder_of, networks

TRUSTED = networks(["10.0.0.0/8", "fd00::/8", "192.0.2.1"])


@pytest.mark.parametrize(
    ("address", "forwarded", "found"),
    [
        ("203.0.113.1", "", "203.0.113.1"),
        ("203.0.113.1", "198.51.100.1", "203.0.113.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1,192.0.2.1", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, , 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("", "198.51.100.1", ""),
        ("10.0.0.1", "198.51.100.1:5678", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", "::FFFF:198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "0:0:0:0:0:ffff:198.51.100.1", "198.51.100.1"),
    ],
)
def test_the_last_address_that_no_trusted_proxy_has(address: str, forwarded: str, found: str) -> None:
    assert address_behind(address, forwarded, TRUSTED) == found


@given(st.text(max_size=60), st.ip_addresses(v=4).filter(lambda one: str(one)[:3] not in ("10.", "192")))
def test_what_a_caller_sends_does_not_count(sent: str, own: object) -> None:
    assert address_behind("10.0.0.1", f"{sent},{own}", TRUSTED) == str(own)


def test_the_holder_of_an_address() -> None:
    assert holder_of("198.51.100.1") == "198.51.100.1"
    assert holder_of("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64"
    assert holder_of("fe80::1%eth0") == "fe80::/64"
    assert holder_of("") == ""
