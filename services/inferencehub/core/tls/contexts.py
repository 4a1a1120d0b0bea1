"""The rules of TLS here: versions, no session that outlives a certificate, and who must show one."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from inferencehub.core.auth.peer import ADDRESS, HOST, URI, name_of


class UnusableAuthorities(ssl.SSLError):
    """What should be certificates of authorities is something else."""


def server_context(protocols: list[str]) -> ssl.SSLContext:
    """A context for a server: TLS 1.2 or newer, one handshake a connection, no session that outlives a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def client_context() -> ssl.SSLContext:
    """A context for the side that calls: the server must show a certificate with the name that is asked for."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def trust(context: ssl.SSLContext, authorities: bytes) -> None:
    """Let the other side show a certificate of these authorities, over TLS 1.3.

    Args:
        context: of either side.
        authorities: their certificates, as PEM.

    Raises:
        UnusableAuthorities: if there is no certificate, or one can't be read.
    """
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(
            cadata=authorities.decode("ascii", "ignore")
        )  # comments may be anything
    except ssl.SSLError as error:
        raise UnusableAuthorities(0, error.reason or str(error)) from None
    except ValueError as error:  # an empty file
        raise UnusableAuthorities(0, str(error)) from None
    if not context.get_ca_certs():
        raise UnusableAuthorities(0, "there is no authority")


def until_of(certificate: Mapping[str, Any] | None) -> float:
    """When a certificate of the other side expires, in Unix time; never if there is none."""
    return ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else inf


def names_of(certificate: Mapping[str, Any] | None) -> list[str]:
    """The names in a certificate of the other side, as `SSLObject.getpeercert` returns it: hosts, addresses and URIs."""
    found: Sequence[tuple[str, str]] = (certificate or {}).get("subjectAltName", ())
    kinds = (("DNS", HOST), ("IP Address", ADDRESS), ("URI", URI))
    names = [name_of(kind, name) for own, kind in kinds for found_kind, name in found if found_kind == own]
    return [name for name in names if name]
