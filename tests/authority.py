"""Certificates like those of a cluster: an authority, and certificates of clients and servers that it signed."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

EXTENSIONS = """subjectAltName = DNS:{name}, DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def openssl(*arguments: str) -> None:
    """Run openssl."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


class Authority:
    """Signs certificates.

    Args:
        directory: where its files go.
        name: of itself.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.key, self.certificate = directory / f"{name}.key", directory / f"{name}.crt"
        new = (
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-noenc",
            "-days",
            "2",
        )
        # Python 3.13 and newer want the extension of an authority that they trust.
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl(*new, "-subj", f"/CN={name}", *usage, "-keyout", str(self.key), "-out", str(self.certificate))

    def signed(self, name: str, extensions: str = EXTENSIONS) -> tuple[Path, Path]:
        """Certificate and key for that name, and for a server on this machine; or with other extensions."""
        key, asked, signed = (self.directory / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
        openssl(*new, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(asked))
        file = self.directory / f"{name}.ext"
        file.write_text(extensions.format(name=name))
        by = ("-CA", str(self.certificate), "-CAkey", str(self.key), "-CAcreateserial", "-days", "1")
        openssl("x509", "-req", "-in", str(asked), *by, "-extfile", str(file), "-out", str(signed))
        return signed, key

    def brief(self, name: str, seconds: float) -> tuple[Path, Path]:
        """Certificate and key for that name, which expires soon; openssl's command counts in days."""
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        signer = serialization.load_pem_private_key(self.key.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        own, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        made = (
            x509.CertificateBuilder(authority.subject, x509.Name([]), own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(seconds=seconds))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
            .sign(signer, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        files = self.directory / f"{name}.brief.crt", self.directory / f"{name}.brief.key"
        files[0].write_bytes(made.public_bytes(pem))
        kind, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        files[1].write_bytes(own.private_bytes(pem, kind, plain))
        return files


class Secret:
    """Files in a directory, as Kubernetes mounts a Secret: a change is one swap of a symlink."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.swaps = 0
        directory.mkdir()
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (directory / name).symlink_to(Path("..data", name))

    @property
    def settings(self) -> dict[str, Any]:
        """What names the two files."""
        return {
            "tls_cert": str(self.directory / "tls.crt"),
            "tls_key": str(self.directory / "tls.key"),
        }

    @property
    def tier_settings(self) -> dict[str, Any]:
        """What names all three, for TLS between the tiers."""
        ca = str(self.directory / "ca.crt")
        return {**{f"tier_{name}": file for name, file in self.settings.items()}, "tier_tls_ca": ca}

    @property
    def ops_settings(self) -> dict[str, Any]:
        """What names all three, for TLS at the ops port."""
        return {name.replace("tier", "ops"): file for name, file in self.tier_settings.items()}

    def hold(self, chain: Path, key: Path, *authorities: Authority) -> None:
        """Put other files there; with authorities, also a file of all of them."""
        files = {"tls.crt": chain.read_text(), "tls.key": key.read_text()}
        if authorities:
            files["ca.crt"] = "".join(one.certificate.read_text() for one in authorities)
        self.fill(files)

    def fill(self, files: Mapping[str, str]) -> None:
        """Put files of these names and contents there."""
        self.swaps += 1
        new = self.directory / f"..{self.swaps}"
        new.mkdir()
        for name, text in files.items():
            (new / name).write_text(text)
        link = self.directory / "..new"
        link.symlink_to(new.name)
        os.replace(link, self.directory / "..data")


def client(trusted: str, shows: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A client that trusts `trusted` (PEM) and shows a certificate, if it has one."""
    context = ssl.create_default_context(cadata=trusted)
    if shows is not None:
        context.load_cert_chain(*shows)
    return context
