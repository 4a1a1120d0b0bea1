"""The settings of the gateway that are about its callers: who they are, and what they may use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from inferencehub.core.auth.jwt.claims import read_claims
from inferencehub.core.auth.jwt.rules import ALGORITHMS, TokenRules
from inferencehub.core.auth.proxies import networks
from inferencehub.core.http1.limits import Limits, allowed_connections
from inferencehub.core.process.settings import SettingError, TierSettings, setting
from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.values.parameters import is_reserved

if TYPE_CHECKING:
    from inferencehub.core.auth.jwt.tokens import Tokens

# An origin as browsers send it (RFC 6454, 6.2): anything else would never be equal to what they send.
HOST = r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])"
ORIGIN = re.compile(rf"http://{HOST}(?!:80$)(?::[1-9]\d{{0,4}})?|https://{HOST}(?!:443$)(?::[1-9]\d{{0,4}})?")
HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+(?<!-bin)")  # RFC 9110, 5.1; gRPC's own are bytes
CREDENTIALS = ("authorization", "proxy-authorization", "x-api-key", "cookie", "set-cookie")
HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class CallerSettings(TierSettings):
    """See the module's text."""

    tls_cert: str = setting(
        "",
        "file with the certificate for callers, followed by those that signed it, as PEM; HTTP and gRPC are then TLS "
        "only; read again when it changes",
    )
    tls_key: str = setting("", "file with the key of this certificate, as PEM, without a password")
    tls_ca: str = setting(
        "",
        "file with the authorities that sign callers' certificates, as PEM; each caller must then show one; read again "
        "when it changes",
    )
    jwt_keys: str = setting(
        "",
        "public keys of JWTs, as a JSON Web Key Set: a file, which is read again when it changes, or a URL, which is "
        "fetched beside the requests; callers may then send a JWT of HUB_JWT_ISSUER",
    )
    jwt_ca: str = setting(
        "",
        "file with the authorities that sign the certificate of this URL, as PEM; without it, those of the system",
    )
    jwt_issuer: str = setting("", "issuer that a JWT must have, its claim iss")
    jwt_audience: tuple[str, ...] = setting(
        (), "audiences of which a JWT must have one, its claim aud, separated by commas"
    )
    jwt_algorithms: tuple[str, ...] = setting(
        ("RS256",), "algorithms that may sign a JWT, separated by commas"
    )
    jwt_claims: str = setting(
        "", "which claims say who the holder of a JWT is, and what they may do, as JSON; see docs/auth.md"
    )
    limits: str = setting(
        "",
        "file of limits of tenants, models and addresses, as JSON; read again when it changes; see docs/limits.md",
    )
    quotas_fail_open: bool = setting(
        False,
        "while the store of jobs, which counts quotas of a day, can't be reached, calls go on and are counted later; "
        "without it, those that need more than their gateway has at hand get 503",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "networks of proxies in front, separated by commas, such as 10.0.0.0/8: what they say in X-Forwarded-For is "
        "the address of a caller",
    )
    gateways: str = setting(
        "",
        "host name with an address for each gateway; each grants its share of a limit; without it, each grants the "
        "whole",
    )
    forward_headers: tuple[str, ...] = setting(
        (),
        "names of request headers, and of gRPC metadata, that models get as parameters, in lower case, separated by commas; no "
        "credentials",
    )

    header_timeout_s: float = setting(
        10.0, "seconds in which a request's head must arrive", least=0.1, most=600
    )
    body_timeout_s: float = setting(
        30.0, "seconds in which a request's body must arrive", least=0.1, most=3600
    )
    keep_alive_s: float = setting(
        75.0,
        "seconds that an idle connection stays open; must be longer than the load balancer in front keeps it",
        least=1,
        most=3600,
    )
    max_connections: int = setting(
        0,
        "connections that may be open at a time over HTTP, and a quarter as many over gRPC; 0 for as many as the "
        "process's limit of open files allows",
        least=0,
        most=1_000_000,
    )
    cors_origins: tuple[str, ...] = setting(
        (),
        "origins whose pages may call from a browser, separated by commas; * for all; no CORS headers if empty",
    )
    cors_credentials: bool = setting(
        False,
        "pages of these origins may call with the browser's cookies and client certificates; not with *",
    )

    def certificate(self) -> Certificate | None:
        """The certificate for callers; None if they are answered in plain.

        Raises:
            BadFile: if it can't be used.
        """
        if not self.tls_cert:
            return None
        return Certificate("HUB_TLS", self.tls_cert, self.tls_key, self.tls_ca, protocols=["http/1.1"])

    def connection_limits(self) -> Limits:
        """The time and the number of connections that callers may use."""
        return Limits(
            header_timeout_s=self.header_timeout_s,
            body_timeout_s=self.body_timeout_s,
            keep_alive_s=self.keep_alive_s,
            max_connections=self.max_connections or allowed_connections(),
        )

    def check_callers(self) -> None:
        """Check that these settings go together.

        Raises:
            SettingError: if they do not.
        """
        try:
            networks(self.trusted_proxies)
        except ValueError as error:
            raise SettingError(
                f"HUB_TRUSTED_PROXIES: {error}, expected networks such as 10.0.0.0/8"
            ) from None
        if bool(self.tls_cert) is not bool(self.tls_key):
            raise SettingError("HUB_TLS_CERT and HUB_TLS_KEY belong together, expected both or none")
        if self.tls_ca and not self.tls_cert:
            raise SettingError(
                "HUB_TLS_CA is there without HUB_TLS_CERT: callers show certificates only over TLS"
            )
        for origin in self.cors_origins:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise SettingError(
                    f"HUB_CORS_ORIGINS has '{origin}', expected * or an origin as browsers send it: https://host or "
                    "https://host:port, in lower case, without a path and without the scheme's own port"
                )
        if self.cors_credentials and (not self.cors_origins or "*" in self.cors_origins):
            raise SettingError(
                "HUB_CORS_CREDENTIALS is true, so HUB_CORS_ORIGINS must name origins, and * is none: any page could "
                "call as the browser's user"
            )
        for name in self.forward_headers:
            refuse_forwarding(name)
        self.token_rules()

    def token_rules(self) -> TokenRules | None:
        """What a JWT must have; None if JWTs are no credentials.

        Raises:
            SettingError: if settings of JWTs do not go together.
        """
        if not self.jwt_keys:
            for name in ("jwt_issuer", "jwt_audience", "jwt_claims", "jwt_ca"):
                if getattr(self, name):
                    raise SettingError(f"HUB_{name.upper()} is there without HUB_JWT_KEYS")
            return None
        if not self.jwt_issuer or not self.jwt_audience:
            raise SettingError("HUB_JWT_KEYS, HUB_JWT_ISSUER and HUB_JWT_AUDIENCE belong together")
        if not self.jwt_algorithms:
            raise SettingError("HUB_JWT_ALGORITHMS is empty, expected those that may sign a JWT")
        for algorithm in self.jwt_algorithms:
            if algorithm not in ALGORITHMS:
                expected = ", ".join(ALGORITHMS)
                raise SettingError(f"HUB_JWT_ALGORITHMS has '{algorithm}', expected one of {expected}")
        url = urlsplit(self.jwt_keys)
        if url.username or url.password or (url.scheme == "https" and not url.hostname):
            raise SettingError("HUB_JWT_KEYS must be a file or https://host…, without a user and a password")
        if self.jwt_ca and not url.scheme:
            raise SettingError("HUB_JWT_CA is there, but HUB_JWT_KEYS is a file")
        if url.scheme not in ("", "https") and not (url.scheme == "http" and url.hostname in HERE):
            raise SettingError(
                f"HUB_JWT_KEYS is '{self.jwt_keys}', expected a file or https://…: who can change the keys gets in"
            )
        try:
            claims = read_claims(self.jwt_claims)
        except ValueError as error:
            raise SettingError(f"HUB_JWT_CLAIMS cannot be used: {error}") from None
        return TokenRules(self.jwt_issuer, self.jwt_audience, self.jwt_algorithms, claims)

    def tokens(self) -> Tokens | None:
        """The JWTs that are credentials; None if they are none.

        Raises:
            BadFile: if the file of keys can't be used.
        """
        rules = self.token_rules()
        if rules is None:
            return None
        # Cryptography takes 0.1 s and 20 MB to import, which only those pay who need it.
        from inferencehub.core.auth.jwt.fetched_keys import FetchedKeys
        from inferencehub.core.auth.jwt.public_keys import MountedKeys
        from inferencehub.core.auth.jwt.tokens import Tokens

        name = "HUB_JWT_KEYS"
        if urlsplit(self.jwt_keys).scheme:
            return Tokens(rules, FetchedKeys(self.jwt_keys, name, self.jwt_ca))
        return Tokens(rules, MountedKeys(self.jwt_keys, name))


def refuse_forwarding(name: str) -> None:
    """Refuse a header that models must not get, or whose name a parameter cannot have.

    Raises:
        SettingError: that says why.
    """
    if not HEADER.fullmatch(name):
        raise SettingError(f"HUB_FORWARD_HEADERS has '{name}', expected names of headers in lower case")
    if name in CREDENTIALS:
        raise SettingError(
            f"HUB_FORWARD_HEADERS has '{name}', which has credentials: models must not get them"
        )
    if is_reserved(name):
        raise SettingError(
            f"HUB_FORWARD_HEADERS has '{name}', which is a parameter with a meaning of its own"
        )
