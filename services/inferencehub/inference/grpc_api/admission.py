"""Who may call at the gRPC port of a pod that speaks TLS: gateways."""

from __future__ import annotations

from typing import Any

from inferencehub.core.grpc_server.credentials import peer_of
from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.values.errors import HubError, Kind


class Admission:
    """See the module's text.

    Args:
        certificate: says which names are those of gateways.
    """

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate

    def check(self, method: str, context: Any) -> None:
        """Check a call before its message is read.

        Raises:
            HubError: UNAUTHENTICATED if it is not a gateway's.
        """
        if objection := self._certificate.objection(peer_of(context).names):
            raise HubError(Kind.UNAUTHENTICATED, objection)
