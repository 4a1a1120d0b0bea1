"""The keys that verify tokens: a JSON Web Key Set (RFC 7517), in a file that is read again when it changes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol
from warnings import filterwarnings

import msgspec
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from inferencehub.core.auth.jwt.rules import EDWARDS, ELLIPTIC, RSA
from inferencehub.core.files.watched import BadFile, WatchedFiles

logger = logging.getLogger(__name__)

KINDS: dict[str, type] = {
    **dict.fromkeys(RSA, RSAKey),
    **dict.fromkeys(ELLIPTIC, ECKey),
    **dict.fromkeys(EDWARDS, OKPKey),
}  # of keys, by algorithm
PUBLIC_KINDS = ("RSA", "EC", "OKP")
LEAST_RSA_BITS = 2048  # RFC 7518, 3.3
Key = RSAKey | ECKey | OKPKey


class Unusable(Exception):
    """A key of a set can't be used. The text names it."""


class UnknownKey(Exception):
    """A token is signed by none of the keys."""


class PublicKeys:
    """The keys of a set.

    Args:
        text: the set, as JSON. Keys that can't be used are left out (RFC 7517, 5): of other kinds, for encryption,
            short or broken ones. The log says why.

    Raises:
        ValueError: if it is no such set, has a private key, or no key that verifies tokens.
    """

    def __init__(self, text: bytes) -> None:
        # joserfc warns in lines for people of what rules decide here: short keys, algorithms.
        filterwarnings("ignore", category=SecurityWarning)
        try:
            entries = msgspec.json.decode(text, type=dict[str, Any]).get("keys")
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(str(error)) from None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError('expected a JSON Web Key Set, {"keys": [{…}, …]}')
        entries = [{name: value for name, value in entry.items() if value is not None} for entry in entries]
        self._keys: list[Key] = []
        reasons = []
        for entry in entries:
            if entry.get("kty") in PUBLIC_KINDS and entry.get("use", "sig") == "sig":
                try:
                    self._keys.append(key_of(entry))
                except Unusable as unusable:
                    reasons.append(str(unusable))
        if not self._keys:
            raise ValueError("; ".join(["it has no public key for signatures", *reasons])[:500])
        for reason in reasons:
            logger.warning("a key of tokens is left out", extra={"reason": reason})

    def find(self, headers: Mapping[str, Any]) -> Key:
        """The key of a token.

        Args:
            headers: the token's; `kid` names the key, or only one fits `alg`.

        Raises:
            UnknownKey: if there is none, or if several fit.
        """
        algorithm, name = headers.get("alg"), headers.get("kid")
        kind = KINDS.get(algorithm) if isinstance(algorithm, str) else None
        fitting = [
            key
            for key in self._keys
            if type(key) is kind
            and key.get("alg", algorithm) == algorithm
            and (name is None or key.get("kid") == name)
        ]
        if len(fitting) != 1:
            raise UnknownKey
        return fitting[0]


class KeySource(Protocol):
    """Where the keys come from. `keys` is another object after each change; None until there are any.

    `setting`, `reloads`, `refused` and `reason` are those of `WatchedFiles`.
    """

    keys: PublicKeys | None
    setting: str
    reloads: int

    @property
    def refused(self) -> bool:
        """Whether there are keys that are not used, or could not be had."""

    @property
    def reason(self) -> str:
        """Why, as a sentence; "" if there are none such."""

    def missing(self) -> None:
        """A token came that none of the keys verifies: perhaps there are newer ones."""

    def start(self) -> None:
        """Look for changes from now on."""

    async def stop(self) -> None:
        """Look no more."""


class MountedKeys(WatchedFiles):
    """The keys in a file.

    Args:
        file: the set.
        setting: the name of the setting that names the file.

    Raises:
        BadFile: if the file can't be used.
    """

    def __init__(self, file: str, setting: str) -> None:
        self._file = file
        self.keys: PublicKeys | None = None
        super().__init__(setting, {setting: file})

    def use(self, contents: tuple[bytes, ...]) -> None:
        """See `WatchedFiles`."""
        try:
            self.keys = PublicKeys(contents[0])
        except ValueError as error:
            raise BadFile(f"{self.setting} ({self._file}) cannot be used: {error}") from None

    def missing(self) -> None:
        """See `KeySource`; the file is looked at anyway."""


def key_of(entry: dict[str, Any]) -> Key:
    """One key of a set.

    Raises:
        ValueError: if it is private: whoever reads the set could sign.
        Unusable: if it can't be read, or is too short.
    """
    name = f"the key '{str(entry.get('kid', ''))[:80]}'"
    if "d" in entry:
        raise ValueError(f"{name} is private, expected public ones")
    try:
        key = import_key(entry)
        size = key.public_key.key_size if isinstance(key, RSAKey) else LEAST_RSA_BITS
    except Exception as error:  # what the library raises for an unknown curve is a KeyError
        raise Unusable(f"{name} cannot be read: {error}") from None
    if size < LEAST_RSA_BITS:
        raise Unusable(f"{name} has {size} bits, expected {LEAST_RSA_BITS} or more")
    assert isinstance(key, Key)
    return key
