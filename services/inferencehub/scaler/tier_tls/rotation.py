"""Which certificates the tiers have next. Pure: contents of Secrets and the time in, new contents out.

No call is lost, because nothing is used before the other side trusts it, and nothing that is still used is dropped:

1. A new authority is trusted beside the old one. It signs nothing yet.
2. After `settle`, when all pods have the files, it signs a certificate for each tier.
3. After `settle` again, when all pods show these, the old authority is dropped.

A certificate that ends is replaced by one of the same authority, in one step. A Secret that somebody has emptied is a reason
for a new authority, or for a new certificate, and goes the same way. The key of an old authority is not kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from inferencehub.scaler.issuing import RENEW, RENEW_AUTHORITY, Pair, names_of, new_authority, sign, signed_by

PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a tier's Secret holds.

    `trusted` are the authorities, each as PEM. `changed` is when the Secret was written; None if it does not say.
    """

    shown: Pair
    trusted: tuple[str, ...]
    changed: datetime | None


def next_authority(held: Pair, name: str, now: datetime) -> Pair:
    """The authority in its Secret, or a new one if there is none, if it is broken, or if it ends soon."""
    found = held.read()
    if found is not None and found.not_valid_after_utc - now > RENEW_AUTHORITY:
        return held
    return new_authority(name, now)


def next_contents(
    authority: Pair, held: Mapping[str, Contents], names: Mapping[str, str], now: datetime, settle: timedelta
) -> dict[str, Contents]:
    """What each tier's Secret should hold; equal to `held` if all is well.

    Args:
        authority: that signs from now on.
        held: what the Secret of each tier holds.
        names: DNS name of each tier.
        now: the present time, with a time zone.
        settle: how long after a change of a Secret all pods have its files.
    """
    known = {one: None for contents in held.values() for one in contents.trusted if valid(one, now)}
    trusted = tuple({authority.certificate: None, **known})
    shown = {tier: usable(contents.shown, names[tier], trusted, now) for tier, contents in held.items()}
    settled = all(
        contents.changed is not None
        and now - contents.changed >= settle
        and authority.certificate in contents.trusted
        for contents in held.values()
    )
    newest = all(found is not None and signed_by(found, authority.certificate) for found in shown.values())
    if settled and newest:
        trusted = (authority.certificate,)
    wanted = {}
    for tier, contents in held.items():
        found, pair = shown[tier], contents.shown
        if found is None or (settled and not lasts(found, authority, now)):
            pair = sign(authority, tier, names[tier], now)
        same = contents.changed is not None and (pair, set(trusted)) == (
            contents.shown,
            set(contents.trusted),
        )
        wanted[tier] = contents if same else Contents(pair, trusted, now)
    return wanted


def valid(authority: str, now: datetime) -> bool:
    """Whether an authority (PEM) can be read and has not ended."""
    try:
        return x509.load_pem_x509_certificate(authority.encode()).not_valid_after_utc > now
    except ValueError:
        return False


def usable(shown: Pair, name: str, trusted: tuple[str, ...], now: datetime) -> x509.Certificate | None:
    """A tier's certificate; None if it is broken, over, for another name, or of an authority that nobody trusts."""
    found = shown.read()
    if found is None or found.not_valid_after_utc <= now or names_of(found) != [name]:
        return None
    return found if any(signed_by(found, one) for one in trusted) else None


def lasts(found: x509.Certificate, authority: Pair, now: datetime) -> bool:
    """Whether a certificate is of the newest authority and need not be renewed yet."""
    return signed_by(found, authority.certificate) and found.not_valid_after_utc - now > RENEW
