"""The address of a caller behind proxies, as those that are trusted tell it in `X-Forwarded-For`."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

FORWARDED = b"x-forwarded-for"
Network = IPv4Network | IPv6Network
OWN_BITS = 64  # of an IPv6 address: what follows them, its holder chooses


def networks(texts: Sequence[str]) -> list[Network]:
    """Networks such as 10.0.0.0/8, or single addresses.

    Raises:
        ValueError: for a text that is none; the error has it.
    """
    return [ip_network(text) for text in texts]


def address_behind(address: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """The address of a caller: the last one that no trusted proxy has.

    Each proxy adds the address from which it was called at the end, and callers may send anything. So the list is read
    from its end, as long as the one that has written an entry is trusted.

    Args:
        address: of the other end of the connection.
        forwarded: the header `X-Forwarded-For`, "" if there is none.
        trusted: the networks of the proxies.
    """
    for entry in reversed(forwarded.split(",")):
        if not is_in(address, trusted):
            break
        try:
            address = read_address(entry.strip())
        except ValueError:
            break
    return address


def read_address(text: str) -> str:
    """An address as proxies write it: some add the port, and brackets around one of IPv6.

    Raises:
        ValueError: if it is none.
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    found = ip_address(text)
    return str(getattr(found, "ipv4_mapped", None) or found)


def is_in(address: str, trusted: Sequence[Network]) -> bool:
    """Whether an address is in one of these networks."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in trusted)


def holder_of(address: str) -> str:
    """What stands for the holder of an address: the address, or the network of one of IPv6."""
    if ":" not in address:
        return address
    return str(ip_network(f"{address.partition('%')[0]}/{OWN_BITS}", strict=False))
