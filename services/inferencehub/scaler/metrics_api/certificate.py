"""The certificate of the metrics API: kept in a Secret that all replicas share, made by whoever finds none.

The chart renders the Secret empty, so no upgrade overwrites it. The certificate signs itself, and Kubernetes' API
server trusts it because the APIService carries it. A new one is made long before the old one ends: `ca.crt` then holds
both, and the one before them; every replica writes it into the APIService before it serves with the new one, so that
each is trusted at every moment. Two replicas that find the Secret empty both try; the second write meets the first
one's version.

With cert-manager the Secret is only read.
"""

from __future__ import annotations

import logging
import re
import ssl
import subprocess
import tempfile
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from inferencehub.scaler.kube import Object

logger = logging.getLogger(__name__)

LIFE = timedelta(days=365)
RENEW = timedelta(days=120)  # before the end
TRUSTED = 3  # certificates: a new one, and those before that replicas may still serve with
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)
AUTHORITY, CHAIN, KEY = "ca.crt", "tls.crt", "tls.key"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Certificate and key, and all that callers shall trust; PEM."""

    chain: str
    key: str
    authority: str

    def context(self, callers: str) -> ssl.SSLContext:
        """For a server whose callers may show a certificate that the authority `callers` (PEM) has signed.

        Raises:
            ssl.SSLError: where a part is none.
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
        """Whether it is for these names, lasts for long enough, and is among what callers shall trust."""
        if self.chain not in self.authority:
            return False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            self.context(self.chain)  # certificate and key belong together
            context.load_verify_locations(cadata=self.chain)
        except (ssl.SSLError, ValueError):
            return False
        return any(covers(found, names, now) for found in context.get_ca_certs())


def covers(found: dict[str, Any], names: tuple[str, ...], now: datetime) -> bool:
    """Whether a certificate, as Python shows it, is for all names and lasts beyond the time to renew it."""
    listed = {value for kind, value in found.get("subjectAltName", ()) if kind == "DNS"}
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), UTC)
    return set(names) <= listed and ends - now > RENEW


def from_secret(secret: Object) -> Certificate | None:
    """The certificate in a Secret; None where it holds none."""
    data = secret.get("data") or {}
    parts = [b64decode(data.get(name) or "").decode() for name in (CHAIN, KEY, AUTHORITY)]
    return Certificate(*parts) if parts[0] and parts[1] else None


def to_secret(secret: Object, certificate: Certificate) -> Object:
    """The Secret with that certificate in it."""
    parts = {CHAIN: certificate.chain, KEY: certificate.key, AUTHORITY: certificate.authority}
    data = {name: b64encode(text.encode()).decode() for name, text in parts.items()}
    return {**secret, "data": {**(secret.get("data") or {}), **data}}


def make(names: tuple[str, ...], before: Certificate | None, life: timedelta = LIFE) -> Certificate:
    """A new certificate for these names, that is trusted beside the one before.

    openssl's own command makes it: it is in the image, as a part of Debian's ca-certificates, and a library for this
    one call would be larger than all others of the image together.

    Raises:
        RuntimeError: with what openssl said.
    """
    listed = ",".join(f"DNS:{name}" for name in names)
    with tempfile.TemporaryDirectory() as directory:
        key, chain = Path(directory, KEY), Path(directory, CHAIN)
        key.touch(mode=0o600)
        done = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc",
             "-days", str(life.days), "-subj", "/CN=inferencehub-scaler", "-addext", f"subjectAltName={listed}",
             "-keyout", str(key), "-out", str(chain)],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"openssl made no certificate: {done.stderr[-500:]}")
        trusted = [chain.read_text()]
        if before is not None:
            trusted += [before.chain, *PEM.findall(before.authority)]
        return Certificate(trusted[0], key.read_text(), "".join(list(dict.fromkeys(trusted))[:TRUSTED]))
