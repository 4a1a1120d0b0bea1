"""The file of API keys: JSON that has the digest of each key, and what its holder may do; never a key itself.

    {"keys": [{"id": "ci", "sha256": "…64 hexadecimal digits…", "tenant": "search", "models": ["digits", "v1-*"],
               "actions": ["infer", "describe"], "not_after": "2027-01-31T00:00:00Z",
               "rate": 100, "burst": 200, "concurrency": 50, "rows": 1000, "rows_burst": 5000, "body_bytes": 1000000,
               "calls_per_day": 100000, "rows_per_day": 1000000, "weight": 2}]}

Only `id` and `sha256` must be there; or `certificate` in place of `sha256`, a name in the certificate of a caller who needs
no key then. A key is `hub_<id>_<secret>`. The secret has 256 random bits, so its digest needs no
salt and no slow function: nobody can try them all.
"""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256
from secrets import token_urlsafe
from typing import Annotated

import msgspec

from inferencehub.core.auth.caller import Action
from inferencehub.core.auth.limits import LimitFields
from inferencehub.core.auth.peer import canonical

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
DIGEST = re.compile(r"[0-9a-f]{64}")
SECRET_BYTES = 32
FIRST_YEAR = 1970
PREFIX = "hub_"
OTHER = "other"  # the label of callers who are not in the file
USUAL = (Action.INFER, Action.DESCRIBE)


class KeyEntry(LimitFields, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key in the file; see the module's text, and `Caller`. After `not_after` it is refused."""

    id: str
    sha256: str = ""
    certificate: str = ""
    tenant: Annotated[str, msgspec.Meta(max_length=200)] = ""
    models: tuple[str, ...] = ("*",)
    actions: tuple[Action, ...] = USUAL
    not_after: datetime | None = None
    weight: Annotated[float, msgspec.Meta(ge=0.01, le=100)] = 1.0


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    keys: tuple[KeyEntry, ...]


def read_keys(text: bytes) -> tuple[KeyEntry, ...]:
    """The keys of a file.

    Raises:
        ValueError: if it is no such file; the text says what was expected, and names the key.
    """
    try:
        entries = msgspec.json.decode(text, type=KeyFile).keys
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    ids: set[str] = set()
    seen: dict[str, str] = {}
    for entry in entries:
        check_entry(entry)
        if entry.id in ids:
            raise ValueError(f"two keys have the id '{entry.id}'")
        shown = entry.sha256 or canonical(entry.certificate)
        if shown in seen:
            kind = "sha256" if entry.sha256 else "certificate"
            raise ValueError(f"'{entry.id}' and '{seen[shown]}' have the same {kind}")
        ids.add(entry.id)
        seen[shown] = entry.id
    return entries


def check_entry(entry: KeyEntry) -> None:
    """Check what the types of the fields do not say.

    Raises:
        ValueError: if a field is wrong.
    """
    if not ID.fullmatch(entry.id):
        expected = "1 to 63 letters, digits, dots or dashes, a letter or digit first"
        raise ValueError(f"the id '{entry.id[:80]}' must have {expected}")
    if entry.id == OTHER:
        raise ValueError(f"the id '{OTHER}' stands for callers who are not in the file, expected another one")
    if bool(entry.sha256) is bool(entry.certificate):
        raise ValueError(f"'{entry.id}' must have either sha256 or certificate")
    if entry.sha256 and not DIGEST.fullmatch(entry.sha256):
        raise ValueError(f"sha256 of '{entry.id}' must be 64 digits 0-9 and a-f")
    entry.check(f"'{entry.id}'")
    if entry.not_after is not None and entry.not_after.tzinfo is None:
        raise ValueError(f"not_after of '{entry.id}' must have a time zone, such as 2027-01-31T00:00:00Z")
    if entry.not_after is not None and entry.not_after.year < FIRST_YEAR:
        raise ValueError(f"not_after of '{entry.id}' must be in {FIRST_YEAR} or later")


def written_keys(entries: tuple[KeyEntry, ...]) -> bytes:
    """The file with these keys."""
    return msgspec.json.format(msgspec.json.encode(KeyFile(entries)), indent=2) + b"\n"


def new_key(id: str) -> str:
    """A new key for an id; it is in no file, only its digest is."""
    return f"{PREFIX}{id}_{token_urlsafe(SECRET_BYTES)}"


def digest(key: bytes) -> bytes:
    """What the file has of a key."""
    return sha256(key).digest()
