"""The certificate of a process, read again when its files change, without a restart and without a lost connection.

A Secret that Kubernetes mounts changes all its files at once, and other tools write one file after the other. So every
change is read whole, the certificate is held against its key, and only then all is used: files that do not fit, are half
written or can't be read change nothing, and the last good ones serve on.

A context that serves is never changed, because an error would leave it without a key. Each connection is given the
context of the newest files.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from inferencehub.core.tls.contexts import UnusableAuthorities, client_context, server_context, trust

logger = logging.getLogger(__name__)

LOOK_S = 2.0  # a changed file is seen after so many seconds


class BadCertificate(Exception):
    """A certificate cannot be used. The text names its settings and files, what was expected and what came."""


class Contents(NamedTuple):
    """A certificate with its chain, its key, and the authorities that sign those of the other side; all as PEM.

    `authorities` is empty where the other side shows no certificate.
    """

    chain: bytes
    key: bytes
    authorities: bytes


class Certificate:
    """A certificate and its key in two files, and in a third one the authorities that the process trusts.

    Args:
        setting: the beginning of the names of the settings that name the files, for errors: "HUB_TLS" for
            HUB_TLS_CERT, HUB_TLS_KEY and HUB_TLS_CA.
        chain: the file of the certificate, followed by those that signed it, as PEM.
        key: the file of its key, as PEM, without a password.
        authorities: the file with the certificates of the authorities, as PEM. With it, both sides show a certificate,
            and TLS is 1.3.
        protocols: that a server speaks, for ALPN, such as "http/1.1".
        admits: names of which the certificate of a client must have one.
        calls: the name that the certificate of a server must have, if this is the side that calls.

    `changed` is called with the former contents when new ones are used; `reloads` counts how often.

    Raises:
        BadCertificate: if a file can't be read, or if the contents can't be used.
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
        self.admits = tuple(admits)
        self.setting = setting
        self.reloads = 0
        self._chain, self._key = Path(chain), Path(key)
        self._authorities = Path(authorities) if authorities else None
        self._protocols = list(protocols)
        try:
            self.contents, self.context = self._read()
        except (OSError, ValueError) as error:
            raise BadCertificate(self._sentence(error)) from None
        self._refused: Contents | str | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def refused(self) -> bool:
        """Whether the files hold something that is not used."""
        return self._refused is not None

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

    def start(self) -> None:
        """Look for changes from now on."""
        self._looking = asyncio.get_running_loop().create_task(self._look_again())

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.look()
            except Exception:  # whatever it is, the next change must be seen
                logger.exception("a look at the certificate failed", extra={"file": str(self._chain)})

    def look(self) -> None:
        """Use what the files hold now, if it is new and good; else log once what is wrong with it."""
        found: Contents | str = ""
        try:
            found = self._now()
            if found == self._refused:
                return
            if found != self.contents:
                before = self.contents
                self.contents, self.context = self._read()
                self.reloads += 1
                logger.info("certificate reloaded", extra={"file": str(self._chain)})
                self.changed(before)
            self._refused = None
        except (OSError, ValueError) as error:
            # Contents that are bad are looked at again when they have changed; what could not be read, at once.
            if not isinstance(error, ssl.SSLError):
                found = str(error)
            if found != self._refused:
                self._refused = found
                text = "the new certificate is not used, the last one serves on"
                logger.error(text, extra={"reason": self._sentence(error)})

    def _now(self) -> Contents:
        authorities = self._authorities.read_bytes() if self._authorities else b""
        return Contents(self._chain.read_bytes(), self._key.read_bytes(), authorities)

    def _read(self) -> tuple[Contents, ssl.SSLContext]:
        """What is in the files, and a context that has it.

        Raises:
            OSError: if a file can't be read.
            ssl.SSLError: if the contents can't be used; it is an `OSError`.
            ValueError: if the key has a password, or if the files changed meanwhile.
        """
        contents = self._now()
        context = client_context() if self.calls else server_context(self._protocols)
        context.load_cert_chain(self._chain, self._key, password=no_password)
        if self._authorities is not None:
            trust(context, contents.authorities)
        if self._now() != contents:
            raise ValueError("the files change just now")
        return contents, context

    def _sentence(self, error: Exception) -> str:
        """What is wrong, by the names of the settings."""
        chain, key = f"{self.setting}_CERT ({self._chain})", f"{self.setting}_KEY ({self._key})"
        if isinstance(error, UnusableAuthorities):
            return f"{self.setting}_CA ({self._authorities}) cannot be used, expected certificates as PEM: {error}"
        if isinstance(error, ssl.SSLError):
            if error.reason == "KEY_VALUES_MISMATCH":
                return f"the key in {key} does not belong to the certificate in {chain}"
            expected = "expected a certificate and its key as PEM"
            return f"{chain} and {key} cannot be used, {expected}: {error.reason or error}"
        if isinstance(error, OSError):
            names = {str(self._key): "KEY", str(self._authorities): "CA"}
            name = f"{self.setting}_{names.get(str(error.filename), 'CERT')}"
            return f"{name} names {error.filename}, which cannot be read: {error.strerror}"
        return f"{key}: {error}"


def no_password() -> str:
    """Called where a key is encrypted: without it, OpenSSL would ask at the terminal."""
    raise ValueError("the key has a password, expected one without")
