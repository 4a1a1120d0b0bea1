"""A certificate as gRPC's servers and channels take it, and what a call's connection and metadata say of its caller.

A server asks for the certificate at each handshake, so a new one needs no restart. A channel keeps the one that it was
made with.
"""

from __future__ import annotations

from typing import Any

import grpc

from inferencehub.core.auth.peer import ADDRESS, HOST, URI, Peer, address_in, name_of
from inferencehub.core.auth.proxies import FORWARDED
from inferencehub.core.tls.certificate import Certificate, Contents

# Of a certificate; the others are for people.
NAMES = (("peer_dns", HOST), ("peer_ip", ADDRESS), ("peer_uri", URI))


def server_credentials(certificate: Certificate) -> grpc.ServerCredentials:
    """Credentials of a port that shows the newest `certificate`; with authorities, clients must show one too."""
    used = certificate.contents

    def newest() -> grpc.ServerCertificateConfiguration | None:
        """None for "as before"; gRPC calls it in a thread of its own."""
        nonlocal used
        if certificate.contents is used:
            return None
        used = certificate.contents
        return configuration(used)

    mutual = bool(used.authorities)
    # grpc's annotation leaves out the None that its documentation asks for.
    return grpc.dynamic_ssl_server_credentials(configuration(used), newest, mutual)  # type: ignore[arg-type]


def configuration(contents: Contents) -> grpc.ServerCertificateConfiguration:
    """A certificate as gRPC's type."""
    pairs = [(contents.key, contents.chain)]
    return grpc.ssl_server_certificate_configuration(pairs, contents.authorities or None)


def secure_channel(
    address: str, options: list[tuple[str, int]], certificate: Certificate
) -> grpc.aio.Channel:
    """A channel with the newest `certificate`, which says which name the server must show, whatever its address is.

    It shows one itself if `certificate` has one and the server asks.
    """
    contents = certificate.contents
    own = (contents.key or None, contents.chain or None)
    credentials = grpc.ssl_channel_credentials(contents.authorities, *own)
    name = ("grpc.ssl_target_name_override", certificate.calls)
    return grpc.aio.secure_channel(address, credentials, [*options, name])


def peer_of(context: Any) -> Peer:
    """The other end of a call's connection."""
    shown = context.auth_context()
    names = [name_of(kind, name.decode()) for own, kind in NAMES for name in shown.get(own, ())]
    return Peer(address_in(context.peer()), tuple(name for name in names if name))


def encoded(metadata: Any) -> list[tuple[bytes, bytes]]:
    """The metadata of a call, also what comes several times, as bytes."""
    return [
        (name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in metadata
    ]


def fields_of(metadata: Any) -> dict[bytes, bytes]:
    """The metadata of a call as stages read it."""
    fields = {
        name.encode(): value if isinstance(value, bytes) else value.encode() for name, value in metadata
    }
    if FORWARDED in fields:  # each proxy may add one of its own
        told = [value for name, value in metadata if name == FORWARDED.decode()]
        fields[FORWARDED] = ",".join(told).encode()
    return fields
