"""The certificate of a process, read again when its files change, without a restart and without a lost connection.

A context that serves is never changed, because an error would leave it without a key. Each connection is given the
context of the newest files.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from errno import EAGAIN
from typing import NamedTuple

from inferencehub.core.auth.peer import canonical
from inferencehub.core.files.watched import BadFile, WatchedFiles
from inferencehub.core.tls.contexts import UnusableAuthorities, client_context, server_context, trust
from inferencehub.core.tls.expiry import end_of


class Contents(NamedTuple):
    """A certificate with its chain, its key, and the authorities that sign those of the other side; all as PEM.

    `authorities` is empty where the other side shows no certificate, `chain` and `key` where this one shows none.
    """

    chain: bytes
    key: bytes
    authorities: bytes = b""


class Certificate(WatchedFiles):
    """A certificate and its key in two files, and in a third one the authorities that the process trusts.

    Args:
        setting: the beginning of the names of the settings that name the files, for errors: "HUB_TLS" for
            HUB_TLS_CERT, HUB_TLS_KEY and HUB_TLS_CA.
        chain: the file of the certificate, followed by those that signed it, as PEM; "" if this is a side that calls and
            shows none.
        key: the file of its key, as PEM, without a password; "" if there is no certificate.
        authorities: the file with the certificates of the authorities, as PEM. With it, the other side shows a certificate,
            too, and TLS is 1.3.
        protocols: that a server speaks, for ALPN, such as "http/1.1".
        admits: names of which the certificate of a client must have one.
        calls: the name that the certificate of a server must have, if this is the side that calls.

    `changed` is called with the former contents when new ones are used. `ends` is when the certificate ends, or the first of
    those that signed it, in Unix time; None if that can't be read.

    Raises:
        BadFile: if a file can't be read, or if the contents can't be used.
    """

    def __init__(
        self,
        setting: str,
        chain: str,
        key: str,
        authorities: str = "",
        protocols: Sequence[str] = (),
        admits: Sequence[str] = (),
        calls: str = "",
    ) -> None:
        self.changed: Callable[[Contents], None] = lambda before: None
        self.calls = calls
        self.admits = tuple(map(canonical, admits))
        self.authorities = authorities
        self._chain, self._key = chain, key
        self._protocols = list(protocols)
        self.contents = Contents(b"", b"")
        self.ends: float | None = None
        files = {f"{setting}_CERT": chain, f"{setting}_KEY": key, f"{setting}_CA": authorities}
        super().__init__(setting, {name: file for name, file in files.items() if file})

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """The TLS of a new connection."""
        name = self.calls or None
        return self.context.wrap_bio(incoming, outgoing, server_side=not name, server_hostname=name)

    def objection(self, names: Sequence[str]) -> str:
        """Why a client whose certificate has these names, and is of a right authority, is refused; "" if it is not."""
        if not self.admits or set(names) & set(self.admits):
            return ""
        shown = ", ".join(names)[:200] or "no name"
        return f"the certificate is for {shown}, expected {' or '.join(self.admits)}"

    def use(self, contents: tuple[bytes, ...]) -> None:
        """See `WatchedFiles`."""
        context = client_context() if self.calls else server_context(self._protocols)
        self.load(context, contents)
        own = contents if self._chain else (b"", b"", *contents)
        before, self.contents, self.context = self.contents, Contents(*own), context
        self.ends = end_of(self.contents.chain)
        self.changed(before)

    def load(self, context: ssl.SSLContext, contents: tuple[bytes, ...]) -> None:
        """Let a context show and trust these contents. OpenSSL reads the certificate and its key from the files.

        Raises:
            BadFile, OSError: see `use`.
        """
        try:
            if self._chain:
                context.load_cert_chain(self._chain, self._key, password=no_password)
            if self.authorities:
                trust(context, contents[-1])
        except (ssl.SSLError, EncryptedKey) as error:
            raise BadFile(self._sentence(error)) from None
        if self.read() != contents:
            raise OSError(EAGAIN, "it changes just now", self._chain or self.authorities)

    def _sentence(self, error: Exception) -> str:
        """What is wrong, by the names of the settings."""
        chain, key = f"{self.setting}_CERT ({self._chain})", f"{self.setting}_KEY ({self._key})"
        if isinstance(error, UnusableAuthorities):
            return f"{self.setting}_CA ({self.authorities}) cannot be used, expected certificates as PEM: {error}"
        if isinstance(error, EncryptedKey):
            return f"{key}: the key has a password, expected one without"
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            return f"the key in {key} does not belong to the certificate in {chain}"
        reason = getattr(error, "reason", "") or error
        return f"{chain} and {key} cannot be used, expected a certificate and its key as PEM: {reason}"


class EncryptedKey(Exception):
    """A key has a password."""


def no_password() -> str:
    """Called where a key is encrypted: without it, OpenSSL would ask at the terminal."""
    raise EncryptedKey
