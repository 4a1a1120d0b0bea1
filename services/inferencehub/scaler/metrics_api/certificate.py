"""The certificate of the metrics API. All replicas of the scaler share it through a Secret.

The chart renders the Secret empty, so no upgrade overwrites it. A replica that finds no certificate in it makes one. If
two replicas do this at the same time, the second write fails, because the Secret's version has changed.

The certificate is self-signed. Kubernetes' API server trusts it because the APIService contains it. A new certificate
is made long before the old one expires. Then `ca.crt` contains the new one, the old one, and the one before that. Every
replica writes `ca.crt` into the APIService before it serves with the new certificate. So each certificate is trusted as
long as any replica uses it.

If cert-manager makes the certificate, the Secret is only read.
"""

from __future__ import annotations

import logging
import re
import ssl
import tempfile
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from inferencehub.scaler.issuing import Pair, names_of, self_signed
from inferencehub.scaler.kube import Object

logger = logging.getLogger(__name__)

LIFE = timedelta(days=365)
RENEW = timedelta(days=120)  # how long before its end a certificate is replaced
TRUSTED = 3  # number of trusted certificates: the new one, and older ones that replicas may still use
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)
AUTHORITY, CHAIN, KEY = "ca.crt", "tls.crt", "tls.key"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, its key, and all certificates that callers should trust (`authority`); each as PEM."""

    chain: str
    key: str
    authority: str

    def context(self, callers: str) -> ssl.SSLContext:
        """A TLS context for a server with this certificate. Clients may show a certificate, too.

        Args:
            callers: the CA that must have signed the clients' certificates, as PEM.

        Raises:
            ssl.SSLError: if a part is not valid PEM, or the key does not belong to the certificate.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cadata=callers)
        context.verify_mode = ssl.CERT_OPTIONAL
        with tempfile.TemporaryDirectory() as directory:
            chain, key = Path(directory, CHAIN), Path(directory, KEY)
            chain.write_text(self.chain)
            key.touch(mode=0o600)
            key.write_text(self.key)
            context.load_cert_chain(chain, key)
        return context

    def fits(self, names: tuple[str, ...], now: datetime) -> bool:
        """Whether it is valid for these names, lasts long enough, and is one of those that callers should trust."""
        if self.chain not in self.authority:
            return False
        found = Pair(self.chain, self.key).read()
        return (
            found is not None
            and set(names) <= set(names_of(found))
            and found.not_valid_after_utc - now > RENEW
        )


def from_secret(secret: Object) -> Certificate | None:
    """The certificate in a Secret; None if there is none."""
    data = secret.get("data") or {}
    parts = [b64decode(data.get(name) or "").decode() for name in (CHAIN, KEY, AUTHORITY)]
    return Certificate(*parts) if parts[0] and parts[1] else None


def to_secret(secret: Object, certificate: Certificate) -> Object:
    """A copy of the Secret that contains this certificate."""
    parts = {CHAIN: certificate.chain, KEY: certificate.key, AUTHORITY: certificate.authority}
    data = {name: b64encode(text.encode()).decode() for name, text in parts.items()}
    return {**secret, "data": {**(secret.get("data") or {}), **data}}


def make(names: tuple[str, ...], before: Certificate | None, life: timedelta = LIFE) -> Certificate:
    """Make a new certificate for these names.

    Args:
        names: DNS names that the certificate is valid for.
        before: the previous certificate, which stays trusted; None if there is none.
        life: how long the certificate is valid.
    """
    now = datetime.now(UTC)
    made = self_signed(names, now, now + life)
    trusted = [made.certificate]
    if before is not None:
        trusted += [before.chain, *PEM.findall(before.authority)]
    return Certificate(made.certificate, made.key, "".join(list(dict.fromkeys(trusted))[:TRUSTED]))
