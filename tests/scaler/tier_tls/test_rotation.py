"""What the tiers show and trust over the years: nothing that the other side does not trust, and nothing that has ended."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from inferencehub.scaler.issuing import AUTHORITY_LIFE, LIFE, Pair, new_authority, sign
from inferencehub.scaler.tier_tls.rotation import Contents, next_authority, next_contents

NAMES = {"gateway": "hub-gateway.ml.svc", "inference": "hub-inference.ml.svc"}
NOW = datetime.now(UTC).replace(microsecond=0)
SETTLE = timedelta(seconds=300)
NOTHING = Pair("", "")
EMPTY = {tier: Contents(NOTHING, (), None) for tier in NAMES}

Held = dict[str, Contents]


def made(at: datetime = NOW) -> tuple[Pair, Held]:
    """An authority and what both tiers hold, as a first start makes them."""
    authority = next_authority(NOTHING, "hub tiers", at)
    return authority, next_contents(authority, EMPTY, NAMES, at, SETTLE)


def signers(held: Held, authorities: dict[str, Pair]) -> dict[str, str]:
    """Who has signed what each tier shows."""
    found = {}
    for tier, contents in held.items():
        shown = x509.load_pem_x509_certificate(contents.shown.certificate.encode())
        subjects = {
            name: x509.load_pem_x509_certificate(one.certificate.encode()).subject
            for name, one in authorities.items()
        }
        (found[tier],) = [name for name, subject in subjects.items() if subject == shown.issuer]
    return found


def shakes_hands(server: Contents, client: Contents) -> bool:
    """Whether an inference pod with these files and a gateway with those let each other in, by OpenSSL's strict rules."""
    sides = []
    for contents, purpose in ((server, ssl.PROTOCOL_TLS_SERVER), (client, ssl.PROTOCOL_TLS_CLIENT)):
        context = ssl.SSLContext(purpose)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata="".join(contents.trusted))
        load(context, contents.shown)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        calls = purpose is ssl.PROTOCOL_TLS_CLIENT
        name = NAMES["inference"] if calls else None
        sides.append((context.wrap_bio(incoming, outgoing, not calls, name), incoming, outgoing))
    (called, called_in, called_out), (caller, caller_in, caller_out) = sides
    for _ in range(4):
        for side in (caller, called):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return False
            called_in.write(caller_out.read())
            caller_in.write(called_out.read())
    return True


def load(context: ssl.SSLContext, pair: Pair) -> None:
    """Let a context show a certificate."""
    with TemporaryDirectory() as directory:
        chain, key = Path(directory, "tls.crt"), Path(directory, "tls.key")
        chain.write_text(pair.certificate)
        key.write_text(pair.key)
        context.load_cert_chain(chain, key)


def verified(shows: Contents, tier: str, by: Contents, at: datetime) -> bool:
    """Whether the other tier takes a certificate at a time, by the rules of the web's certificates."""
    store = Store(x509.load_pem_x509_certificates("".join(by.trusted).encode()))
    shown = x509.load_pem_x509_certificate(shows.shown.certificate.encode())
    policy = PolicyBuilder().store(store).time(at.replace(tzinfo=None))
    try:
        if tier == "inference":
            policy.build_server_verifier(x509.DNSName(NAMES[tier])).verify(shown, [])
        else:
            policy.build_client_verifier().verify(shown, [])
    except VerificationError:
        return False
    return True


def test_the_first_ones_let_the_tiers_in_at_each_other_and_nobody_else() -> None:
    authority, held = made()
    assert shakes_hands(held["inference"], held["gateway"])
    _, others = made()
    assert not shakes_hands(held["inference"], others["gateway"])
    assert not shakes_hands(others["inference"], held["gateway"])
    assert not shakes_hands(held["gateway"], held["inference"]), "each has one role"
    assert {contents.trusted for contents in held.values()} == {(authority.certificate,)}


def test_a_certificate_has_a_tiers_name_and_role_and_ends_before_its_authority() -> None:
    authority, held = made()
    by = x509.load_pem_x509_certificate(authority.certificate.encode())
    roles = {"gateway": ExtendedKeyUsageOID.CLIENT_AUTH, "inference": ExtendedKeyUsageOID.SERVER_AUTH}
    for tier, contents in held.items():
        found = x509.load_pem_x509_certificate(contents.shown.certificate.encode())
        key = found.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [NAMES[tier]]
        (role,) = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert role == roles[tier]
        assert found.not_valid_before_utc <= NOW - timedelta(minutes=30), "clocks of nodes may be slow"
        assert found.not_valid_after_utc == NOW + LIFE
    late = sign(authority, "gateway", NAMES["gateway"], NOW + AUTHORITY_LIFE - timedelta(days=1))
    found = x509.load_pem_x509_certificate(late.certificate.encode())
    assert found.not_valid_after_utc == by.not_valid_after_utc


def test_good_ones_are_kept_and_ending_ones_are_replaced_by_the_same_authority() -> None:
    authority, held = made()
    for days in (0, 1, 59):
        at = NOW + timedelta(days=days)
        assert next_authority(authority, "hub tiers", at) == authority
        assert next_contents(authority, held, NAMES, at, SETTLE) == held
    at = NOW + timedelta(days=61)
    later = next_contents(authority, held, NAMES, at, SETTLE)
    for tier, contents in later.items():
        assert contents.shown != held[tier].shown
        assert contents.trusted == (authority.certificate,)
        assert contents.changed == at


def test_a_new_authority_is_trusted_before_it_signs_and_the_old_one_after() -> None:
    old, held = made(NOW - timedelta(days=246))
    held = next_contents(old, held, NAMES, NOW - timedelta(days=10), SETTLE)
    new = next_authority(old, "hub tiers", NOW)
    assert new != old
    authorities = {"old": old, "new": new}
    trusts: list[set[str]] = []
    signs: list[str] = []
    for at in (NOW, NOW + SETTLE, NOW + 2 * SETTLE):
        wanted = next_contents(new, held, NAMES, at, SETTLE)
        for early in (timedelta(seconds=1), SETTLE - timedelta(seconds=1)):
            assert next_contents(new, wanted, NAMES, at + early, SETTLE) == wanted
        trusts.append({one for contents in wanted.values() for one in contents.trusted})
        (signer,) = set(signers(wanted, authorities).values())
        signs.append(signer)
        for server, client in product((held, wanted), (held, wanted)):
            assert shakes_hands(server["inference"], client["gateway"]), (
                "a pod may have its files early or late"
            )
        held = wanted
    both = {old.certificate, new.certificate}
    assert trusts == [both, both, {new.certificate}]
    assert signs == ["old", "new", "new"]
    assert next_contents(new, held, NAMES, NOW + 9 * SETTLE, SETTLE) == held


@pytest.mark.long
def test_over_years_each_side_takes_what_the_other_one_shows() -> None:
    """Looked at once a day and after each change; pods have the files of before or after it, up to the time that they have."""
    authority, held = made()
    at, changes, authorities = NOW, 0, {authority.certificate}
    while at < NOW + timedelta(days=1500):
        authority = next_authority(authority, "hub tiers", at)
        authorities.add(authority.certificate)
        wanted = next_contents(authority, held, NAMES, at, SETTLE)
        for now, server, client in product((at, at + SETTLE), (held, wanted), (held, wanted)):
            assert verified(server["inference"], "inference", client["gateway"], now)
            assert verified(client["gateway"], "gateway", server["inference"], now)
        assert all(len(contents.trusted) <= 2 for contents in wanted.values())
        changes += wanted != held
        at += SETTLE if wanted != held else timedelta(days=1)
        held = wanted
    assert len(authorities) == 7  # each is replaced after 245 days
    assert 30 < changes < 60


def test_when_the_authority_is_taken_away_a_new_one_follows_step_by_step() -> None:
    old, held = made(NOW - timedelta(days=1))
    new = next_authority(NOTHING, "hub tiers", NOW)
    wanted = next_contents(new, held, NAMES, NOW, SETTLE)
    assert {tier: contents.shown for tier, contents in wanted.items()} == {
        tier: contents.shown for tier, contents in held.items()
    }
    assert {contents.trusted for contents in wanted.values()} == {(new.certificate, old.certificate)}


def test_an_emptied_secret_is_filled_at_once_and_the_other_one_is_left() -> None:
    authority, held = made(NOW - timedelta(days=1))
    wanted = next_contents(authority, {**held, "inference": EMPTY["inference"]}, NAMES, NOW, SETTLE)
    assert wanted["gateway"] == held["gateway"]
    assert wanted["inference"].shown != held["inference"].shown
    assert shakes_hands(wanted["inference"], held["gateway"])


@pytest.mark.parametrize("fault", ["key", "text", "name", "ended", "stranger"])
def test_what_the_other_side_would_refuse_is_replaced_at_once(fault: str) -> None:
    authority, held = made(NOW - timedelta(days=1))
    good, stranger = held["inference"], new_authority("stranger", NOW)
    shown = {
        "key": replace(good.shown, key=held["gateway"].shown.key),
        "text": replace(good.shown, certificate="no PEM"),
        "name": sign(authority, "inference", "other.ml.svc", NOW),
        "ended": sign(authority, "inference", NAMES["inference"], NOW - LIFE),
        "stranger": sign(stranger, "inference", NAMES["inference"], NOW),
    }[fault]
    broken = {**held, "inference": replace(good, shown=shown, changed=NOW)}
    wanted = next_contents(authority, broken, NAMES, NOW, SETTLE)
    assert wanted["inference"].shown != shown
    assert shakes_hands(wanted["inference"], held["gateway"])
    assert wanted["gateway"] == held["gateway"]


def test_who_does_not_say_when_it_changed_counts_as_changed_now() -> None:
    authority, held = made(NOW - timedelta(days=80))
    unknown = {tier: replace(contents, changed=None) for tier, contents in held.items()}
    wanted = next_contents(authority, unknown, NAMES, NOW, SETTLE)
    assert {tier: contents.shown for tier, contents in wanted.items()} == {
        tier: contents.shown for tier, contents in held.items()
    }
    assert {contents.changed for contents in wanted.values()} == {NOW}


@pytest.mark.parametrize("fault", ["key", "text", "soon"])
def test_a_broken_or_ending_authority_is_replaced(fault: str) -> None:
    good = new_authority("hub tiers", NOW)
    held = {
        "key": replace(good, key=new_authority("hub tiers", NOW).key),
        "text": replace(good, certificate="no PEM"),
        "soon": new_authority("hub tiers", NOW - timedelta(days=246)),
    }[fault]
    assert next_authority(held, "hub tiers", NOW) != held
    assert next_authority(good, "hub tiers", NOW) == good
