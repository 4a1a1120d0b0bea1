"""API keys: who is behind a key, by a file that is read again when it changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf
from time import time
from typing import NamedTuple

from inferencehub.core.auth.caller import Caller
from inferencehub.core.auth.key_file import KeyEntry, digest, read_keys
from inferencehub.core.auth.peer import canonical
from inferencehub.core.files.watched import BadFile, WatchedFiles
from inferencehub.core.values.errors import HubError, Kind

MOST_BYTES = 4096  # of a credential; nothing that we made is longer


class Known(NamedTuple):
    """A key of the file: who is behind it, and until when, in Unix time."""

    caller: Caller
    until: float


class ApiKeys(WatchedFiles):
    """The keys of a file.

    Args:
        file: see `key_file.py`.
        setting: the name of the setting that names the file.
        countable: whether there is a store that counts quotas of a day; without one, a file with a quota can't be used.

    Raises:
        BadFile: if the file can't be used.
    """

    def __init__(self, file: str, setting: str, countable: bool = True) -> None:
        self._file = file
        self._countable = countable
        self._known: dict[bytes, Known] = {}  # by the digest of a key
        self._named: dict[str, Known] = {}  # by a name in a certificate
        # Good keys that came: a digest takes several µs where caches are cold.
        self._seen: dict[bytes, Known] = {}
        super().__init__(setting, {setting: file})

    def use(self, contents: tuple[bytes, ...]) -> None:
        """See `WatchedFiles`."""
        try:
            entries = read_keys(contents[0])
            for entry in () if self._countable else entries:
                entry.check_countable(f"'{entry.id}'")
        except ValueError as error:
            raise BadFile(f"{self.setting} ({self._file}) cannot be used: {error}") from None
        self._known = {bytes.fromhex(entry.sha256): known_of(entry) for entry in entries if entry.sha256}
        self._named = {
            canonical(entry.certificate): known_of(entry) for entry in entries if entry.certificate
        }
        self._seen.clear()

    def caller(self, key: bytes) -> Caller:
        """Who is behind a key.

        Raises:
            HubError: UNAUTHENTICATED if the key is unknown or has expired.
        """
        found = self._seen.get(key)
        if found is None:
            found = self._known.get(digest(key)) if len(key) <= MOST_BYTES else None
            if found is None:
                raise HubError(Kind.UNAUTHENTICATED, "the key is unknown")
            self._seen[key] = found
        return in_time(found)

    def holder(self, names: Sequence[str]) -> Caller | None:
        """Who shows a certificate with these names; None if none of them is known.

        Raises:
            HubError: UNAUTHENTICATED if the entry has expired.
        """
        found = [self._named[name] for name in names if name in self._named]
        if not found:
            return None
        now = time()
        return in_time(next((one for one in found if now <= one.until), found[0]))


def known_of(entry: KeyEntry) -> Known:
    """Who is behind an entry of the file."""
    who = f"the certificate of '{entry.certificate}'" if entry.certificate else ""
    caller = Caller(
        entry.id, entry.tenant, entry.models, entry.actions, entry.limits(), who, True, entry.weight
    )
    return Known(caller, inf if entry.not_after is None else entry.not_after.timestamp())


def in_time(known: Known) -> Caller:
    """The caller, if the entry has not expired.

    Raises:
        HubError: UNAUTHENTICATED if it has.
    """
    if time() > known.until:
        ended = datetime.fromtimestamp(known.until, UTC).isoformat(timespec="seconds")
        raise HubError(Kind.UNAUTHENTICATED, f"{known.caller.who} has expired at {ended}")
    return known.caller
