"""The certificate of a port, read again when its files change, without a restart and without a lost connection.

A Secret that Kubernetes mounts changes all its files at once, and other tools write one file after the other. So every
change is read whole, held against its key, and only then used: a pair that does not fit, is half written or can't be
read changes nothing, and the last good one serves on.

A context that serves is never changed, because an error would leave it without a key. Instead each handshake is given
the context of the newest pair, as `SSLContext.sni_callback` allows, also to callers that name no server.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

LOOK_S = 2.0  # a changed file is seen after so many seconds


class BadCertificate(Exception):
    """A certificate cannot be used. The text names its settings and files, what was expected and what came."""


class Pair(NamedTuple):
    """A certificate with its chain, and its key; both as PEM."""

    chain: bytes
    key: bytes


class Certificate:
    """A certificate and its key in two files.

    Args:
        chain: the file of the certificate, followed by those that signed it, as PEM.
        key: the file of its key, as PEM, without a password.
        names: of the settings that name the two files, for errors.
        protocols: that the port speaks, for ALPN, such as "http/1.1".

    Raises:
        BadCertificate: if a file can't be read, or if the pair can't be used.
    """

    def __init__(self, chain: str, key: str, names: tuple[str, str], protocols: Sequence[str]) -> None:
        self._files = Path(chain), Path(key)
        self._names = names
        self._protocols = list(protocols)
        try:
            self.pair, self._context = self._read()
        except (OSError, ValueError) as error:
            raise BadCertificate(self._sentence(error)) from None
        self._refused: Pair | str | None = None
        self._looking: asyncio.Task[None] | None = None

    def server_context(self) -> ssl.SSLContext:
        """A context for listening, whose handshakes use the newest pair."""
        context = new_context(self._protocols)
        context.sni_callback = self._newest
        return context

    def _newest(self, connection: ssl.SSLSocket | ssl.SSLObject, *_: Any) -> None:
        connection.context = self._context

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
            self.look()

    def look(self) -> None:
        """Use the pair that the files have now, if it is new and good; else log once what is wrong with it."""
        found: Pair | str = ""
        try:
            found = self._contents()
            if found == self._refused:
                return
            if found != self.pair:
                self.pair, self._context = self._read()
                logger.info("certificate reloaded", extra={"file": str(self._files[0])})
            self._refused = None
        except (OSError, ValueError) as error:
            # A pair that is bad itself is looked at again when it has changed; one that could not be read, at once.
            if not isinstance(error, ssl.SSLError):
                found = str(error)
            if found != self._refused:
                self._refused = found
                text = "the new certificate is not used, the last one serves on"
                logger.error(text, extra={"reason": self._sentence(error)})

    def _contents(self) -> Pair:
        chain, key = self._files
        return Pair(chain.read_bytes(), key.read_bytes())

    def _read(self) -> tuple[Pair, ssl.SSLContext]:
        """The pair in the files, and a context that has it.

        Raises:
            OSError: if a file can't be read.
            ssl.SSLError: if the pair can't be used; it is an `OSError`.
            ValueError: if the key has a password, or if the files changed meanwhile.
        """
        pair = self._contents()
        context = new_context(self._protocols)
        context.load_cert_chain(*self._files, password=no_password)
        if self._contents() != pair:
            raise ValueError("the files change just now")
        return pair, context

    def _sentence(self, error: Exception) -> str:
        """What is wrong with the pair, by the names of the settings."""
        chain, key = self._names
        if isinstance(error, ssl.SSLError):
            if error.reason == "KEY_VALUES_MISMATCH":
                return f"the key in {key} ({self._files[1]}) does not belong to the certificate in {chain} ({self._files[0]})"
            return (
                f"{chain} ({self._files[0]}) and {key} ({self._files[1]}) cannot be used, expected a certificate and "
                f"its key as PEM: {error.reason or error}"
            )
        if isinstance(error, OSError):
            name = key if str(error.filename) == str(self._files[1]) else chain
            return f"{name} names {error.filename}, which cannot be read: {error.strerror}"
        return f"{key} ({self._files[1]}): {error}"


def no_password() -> str:
    """Called where a key is encrypted: without it, OpenSSL would ask at the terminal."""
    raise ValueError("the key has a password, expected one without")


def new_context(protocols: list[str]) -> ssl.SSLContext:
    """A context for a server: TLS 1.2 or newer, one handshake a connection, no session that outlives a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(protocols)
    return context
