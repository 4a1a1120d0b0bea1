"""A certificate as gRPC's servers take it: asked for at each handshake, so a new one needs no restart."""

from __future__ import annotations

import grpc

from inferencehub.core.tls.certificate import Certificate, Pair


def server_credentials(certificate: Certificate) -> grpc.ServerCredentials:
    """Credentials of a port that shows the newest pair of `certificate`."""
    used = certificate.pair

    def newest() -> grpc.ServerCertificateConfiguration | None:
        """None for "as before"; gRPC calls it in a thread of its own."""
        nonlocal used
        if certificate.pair is used:
            return None
        used = certificate.pair
        return configuration(used)

    # grpc's annotation leaves out the None that its documentation asks for.
    return grpc.dynamic_ssl_server_credentials(configuration(used), newest)  # type: ignore[arg-type]


def configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    """A pair as gRPC's type."""
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)])
