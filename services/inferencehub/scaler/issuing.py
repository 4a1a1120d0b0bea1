"""Certificates as RFC 5280 has them, ECDSA P-256 and SHA-256: an authority, what it signs, and one that has signed itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=365)
LIFE = timedelta(days=90)
# How long before its end each is replaced. An authority must outlive all that it has signed.
RENEW_AUTHORITY = timedelta(days=120)
RENEW = timedelta(days=30)
# The clock of a node may be slow: to it, a certificate must not begin in the future.
SLOW_CLOCKS = timedelta(hours=1)
USAGES = {"gateway": ExtendedKeyUsageOID.CLIENT_AUTH, "inference": ExtendedKeyUsageOID.SERVER_AUTH}


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, each as PEM; they are checked by `read`."""

    certificate: str
    key: str

    def read(self) -> x509.Certificate | None:
        """The certificate; None if it can't be read, or if the key does not belong to it."""
        try:
            found = x509.load_pem_x509_certificate(self.certificate.encode())
            key = load_pem_private_key(self.key.encode(), None)
        except (ValueError, TypeError):
            return None
        return found if key.public_key() == found.public_key() else None


def new_authority(name: str, now: datetime) -> Pair:
    """An authority that may sign certificates and no further authorities.

    Args:
        name: what it is for. Its number is added, so that two authorities never have one name.
        now: the present time, with a time zone.
    """
    key, number = ec.generate_private_key(ec.SECP256R1()), x509.random_serial_number()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name[:40]} {number % 2**64:016x}")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        begun(key.public_key(), subject, number, now, now + AUTHORITY_LIFE)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return pair(made, key)


def sign(authority: Pair, tier: str, name: str, now: datetime) -> Pair:
    """A certificate with a new key for a tier.

    Args:
        authority: signs it.
        tier: "gateway", which calls, or "inference", which is called.
        name: DNS name by which the other tier knows it.
        now: the present time, with a time zone.

    Raises:
        ValueError: if the authority can't be read.
    """
    by = x509.load_pem_x509_certificate(authority.certificate.encode())
    signer = load_pem_private_key(authority.key.encode(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, tier)])
    ends = min(now + LIFE, by.not_valid_after_utc)
    made = (
        begun(key.public_key(), subject, x509.random_serial_number(), now, ends)
        .issuer_name(by.subject)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([USAGES[tier]]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    return pair(made, key)


def self_signed(names: tuple[str, ...], now: datetime, ends: datetime) -> Pair:
    """A server's certificate that clients trust by itself. It is its own authority.

    Args:
        names: DNS names that it is for.
        now, ends: when it begins and ends, with a time zone.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "inferencehub-scaler")])
    # Several that are trusted have one name: the identifiers tell them apart.
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    same = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    made = (
        begun(key.public_key(), subject, x509.random_serial_number(), now, ends)
        .issuer_name(subject)
        .add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(digital_signature=True, key_cert_sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(own, critical=False)
        .add_extension(same, critical=False)
        .sign(key, hashes.SHA256())
    )
    return pair(made, key)


def names_of(found: x509.Certificate) -> list[str]:
    """The DNS names in a certificate."""
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)


def signed_by(found: x509.Certificate, authority: str) -> bool:
    """Whether an authority (PEM) has signed a certificate."""
    try:
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def begun(
    key: ec.EllipticCurvePublicKey, subject: x509.Name, number: int, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    """What all certificates have."""
    made = x509.CertificateBuilder().subject_name(subject).public_key(key).serial_number(number)
    return made.not_valid_before(now - SLOW_CLOCKS).not_valid_after(ends)


def usage(
    digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    """What a key may be used for."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def pair(made: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    """Both as PEM, the key as PKCS #8."""
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(made.public_bytes(Encoding.PEM).decode(), private.decode())
