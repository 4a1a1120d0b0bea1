"""Which addresses webhooks may call.

The networks are those of the registries of IANA for special purposes (RFC 6890), and the addresses at which clouds tell
machines who they are. An IPv6 address that stands for an IPv4 address is judged as that one.
"""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address


def networks(*texts: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks from their texts."""
    return tuple(ip_network(text) for text in texts)


# This host, link-local with the metadata of clouds, protocols, examples, 6to4, multicast, reserved.
NEVER = networks(
    *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.51.100.0/24"),
    *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    # Metadata of Azure and Alibaba; of AWS and Google over IPv6.
    *("168.63.129.16/32", "100.100.100.200/32", "fd00:ec2::254/128", "fd20:ce::254/128"),
    # Teredo and other protocols, examples, 6to4, more examples: all within what is global otherwise.
    *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
)
LOOPBACK = networks("127.0.0.0/8", "::1/128")
PRIVATE = networks(
    "10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "fc00::/7"
)
GLOBAL = networks("0.0.0.0/0", "2000::/3")  # what is neither is for later, or for one link
MAPPED = networks("::ffff:0:0/96", "64:ff9b::/96")  # IPv4-mapped; NAT64 (RFC 6052)


def may_call(address: str, private: bool, loopback: bool) -> bool:
    """Whether webhooks may call an address.

    Args:
        address: as text.
        private: whether it may be one of a private network.
        loopback: whether it may be one of this machine alone.
    """
    meant = meant_by(ip_address(address))
    if within(meant, NEVER):
        return False
    if within(meant, LOOPBACK):
        return loopback
    if within(meant, PRIVATE):
        return private
    return within(meant, GLOBAL)


def meant_by(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, or the address."""
    return IPv4Address(int(address) & 0xFFFF_FFFF) if within(address, MAPPED) else address


def within(address: Address, found: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    """Whether an address is in one of the networks. A zone of IPv6 (%eth0) does not count."""
    if isinstance(address, IPv6Address) and address.scope_id:
        address = IPv6Address(int(address))
    return any(address in network for network in found)
