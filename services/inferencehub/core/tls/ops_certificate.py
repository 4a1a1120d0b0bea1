"""The certificate of ops ports: all processes of a release show it to each other, and to who reads their metrics.

A kubelet shows no certificate, so none is asked for in the handshake: the port itself says which pages need one.
"""

from __future__ import annotations

import ssl

from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.tls.contexts import client_context


class OpsCertificate(Certificate):
    """A certificate, its key, and the authorities that sign the certificates of the other side.

    Processes ask each other by addresses that come and go, so each certificate of the authorities is good, whatever its
    name. `asking` is the context of the newest files for the side that asks.

    Args:
        chain, key, authorities: see `Certificate`.

    Raises:
        BadFile: if a file can't be read, or if the contents can't be used.
    """

    asking: ssl.SSLContext

    def __init__(self, chain: str, key: str, authorities: str) -> None:
        super().__init__("HUB_OPS_TLS", chain, key, authorities, protocols=["http/1.1"])

    def use(self, contents: tuple[bytes, ...]) -> None:
        """See `WatchedFiles`."""
        asking = client_context()
        asking.check_hostname = False
        self.load(asking, contents)
        super().use(contents)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.asking = asking
