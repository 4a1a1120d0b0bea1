"""Asks who calls: by an API key, a JWT or a certificate, the same at all ports."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from time import time
from typing import Protocol

from inferencehub.core.auth.api_keys import ApiKeys
from inferencehub.core.auth.caller import Caller
from inferencehub.core.auth.key_file import USUAL
from inferencehub.core.auth.peer import Peer
from inferencehub.core.values.errors import HubError, Kind

# Values by name in lower case: the headers of HTTP, or the metadata of gRPC.
Metadata = Mapping[bytes, bytes]
AGAIN_S = 5.0  # between two looks whether the credentials of who has a stream are still good
DOTS = 2  # in a JWT; a key that we made has none
KEY = "a key as 'Authorization: Bearer hub_…' or 'X-Api-Key: hub_…'"
TOKEN = "a JWT as 'Authorization: Bearer …'"


class Credentials(Protocol):
    """Credentials of a kind, such as API keys."""

    def caller(self, credential: bytes, /) -> Caller:
        """Who is behind a credential.

        Raises:
            HubError: UNAUTHENTICATED if it is not good.
        """


class Authentication:
    """Says who makes a call, and refuses calls without good credentials.

    A certificate that TLS has accepted is asked for its name where no key or token came. Where there are neither keys nor
    tokens, each such certificate is good.

    Args:
        keys: the API keys, and the names of certificates; None where there are none.
        tokens: the JWTs; None where they are no credentials.
        origins: whose pages may use the certificate of a browser.
    """

    def __init__(
        self, keys: ApiKeys | None, tokens: Credentials | None, origins: Collection[str] = ()
    ) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)
        self._keys = keys
        self._tokens = tokens
        known = [("key", KEY)] * (keys is not None) + [("token", TOKEN)] * (tokens is not None)
        self._kinds = " or ".join(kind for kind, _ in known)
        self._expected = f"send {', or '.join(way for _, way in known)}"

    def caller(self, metadata: Metadata, peer: Peer) -> Caller:
        """Who sends a request with this metadata on a connection with this other end.

        Raises:
            HubError: UNAUTHENTICATED without good credentials.
        """
        if peer.until < time():  # TLS has looked when the connection was made
            raise HubError(Kind.UNAUTHENTICATED, "the certificate of this connection has expired")
        if self._keys is None and self._tokens is None:
            self._refuse_pages(metadata)
            return of_certificate(peer.names)
        credential = self._credential(metadata)
        if not credential:
            if peer.names and self._keys is not None:
                self._refuse_pages(metadata)
                found = self._keys.holder(peer.names)
                if found is not None:
                    return found
                shown = ", ".join(peer.names)[:200]
                sentence = (
                    f"the certificate is for {shown}, which is unknown, and there is no {self._kinds}: "
                )
                raise HubError(Kind.UNAUTHENTICATED, sentence + self._expected)
            raise HubError(Kind.UNAUTHENTICATED, f"there is no {self._kinds}: {self._expected}")
        if self._tokens is not None and (self._keys is None or credential.count(b".") == DOTS):
            return self._tokens.caller(credential)
        assert self._keys is not None
        return self._keys.caller(credential)

    def _refuse_pages(self, metadata: Metadata) -> None:
        """Check that no page of another origin makes a browser call: it shows its certificate without being asked to.

        Raises:
            HubError: FORBIDDEN if one does.
        """
        origin = metadata.get(b"origin")
        if origin in self._origins or metadata.get(b"sec-fetch-site") in (b"same-origin", b"none"):
            return
        foreign = origin is not None and origin.partition(b"://")[2] != metadata.get(b"host", b"")
        if foreign or b"sec-fetch-site" in metadata:
            needed = self._kinds or "call without a certificate"
            sentence = f"a page of another origin needs a {needed}: a browser's certificate is not enough"
            raise HubError(Kind.FORBIDDEN, sentence)

    def _credential(self, metadata: Metadata) -> bytes:
        """The key or token that came with a request; empty if none came.

        Raises:
            HubError: UNAUTHENTICATED if it is of another kind.
        """
        authorization = metadata.get(b"authorization", b"").strip()
        if not authorization:
            credential = metadata.get(b"x-api-key", b"")
        else:
            scheme, _, credential = authorization.partition(b" ")
            if scheme.lower() != b"bearer":  # it is not shown: it may be the credential itself
                sentence = f"the credentials are not of kind 'Bearer': {self._expected}"
                raise HubError(Kind.UNAUTHENTICATED, sentence)
        return credential.strip()


def of_certificate(names: Sequence[str]) -> Caller:
    """Who shows a certificate with these names, where each is good.

    Raises:
        HubError: UNAUTHENTICATED if there is no name.
    """
    if not names:
        raise HubError(
            Kind.UNAUTHENTICATED, "the certificate has no name, expected a host, an address or a URI"
        )
    return Caller(names[0], "", ["*"], USUAL, who=f"the certificate of '{names[0]}'")
