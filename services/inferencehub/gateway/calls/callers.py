"""Who may call, and what each caller may use: keys, tokens, limits and quotas, with the stages that hold callers to them."""

from __future__ import annotations

from inferencehub.core.auth.api_keys import ApiKeys
from inferencehub.core.auth.authentication import Authentication
from inferencehub.core.auth.limits_file import LimitsFile
from inferencehub.core.auth.proxies import networks
from inferencehub.gateway.calls.authentication import KnownCallers
from inferencehub.gateway.calls.call_limits import BehindProxies, CallLimits
from inferencehub.gateway.calls.limits.peers import Peers
from inferencehub.gateway.calls.stages import Stage
from inferencehub.gateway.calls.usage import Usage
from inferencehub.gateway.settings.gateway import GatewaySettings


class Callers:
    """The rules for callers that the settings name.

    Args:
        settings: the gateway's settings.

    Attributes:
        authentication: says who a caller is; None if nobody is asked.
        call_limits: what a caller may use; None if there are neither keys nor limits.
        usage: what callers have used.
        counted: the same; None if nobody is asked, so that there is nobody to count for.

    Raises:
        BadFile: if the file of API keys, of limits or of public keys can't be used.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        stored = bool(settings.jobs)
        self.keys = ApiKeys(settings.api_keys, "HUB_API_KEYS", stored) if settings.api_keys else None
        self.tokens = settings.tokens()
        self.limits = LimitsFile(settings.limits, "HUB_LIMITS", stored) if settings.limits else None
        asked = self.keys or self.tokens or settings.tls_ca
        origins = settings.cors_origins if settings.cors_credentials else ()
        self.authentication = Authentication(self.keys, self.tokens, origins) if asked else None
        trusted = networks(settings.trusted_proxies)
        self.proxies = BehindProxies(trusted) if trusted else None
        self.peers = Peers(settings.gateways)
        known = self.authentication is not None or self.limits is not None
        self.call_limits = CallLimits(self.peers, self.limits) if known else None
        self.usage = Usage(self.call_limits)
        self.counted = None if self.authentication is None else self.usage
        sources = (self.keys, None if self.tokens is None else self.tokens.source, self.limits)
        self.files = [one for one in sources if one is not None]

    def first(self) -> list[Stage]:
        """The stages that find out who calls, before all others."""
        known = None if self.authentication is None else KnownCallers(self.authentication)
        return [stage for stage in (self.proxies, known) if stage is not None]

    def last(self) -> list[Stage]:
        """The stages that count what is used, after all others: a call that another one refuses takes nothing."""
        return [] if self.call_limits is None else [self.call_limits]

    def start(self) -> None:
        """Count the gateways that share the limits; the console says how many there are, also where there are no limits."""
        self.peers.start()

    async def stop(self) -> None:
        """Count them no more."""
        await self.peers.stop()
