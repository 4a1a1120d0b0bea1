"""The stage that asks who calls: by an API key, the same on all fronts."""

from __future__ import annotations

from inferencehub.core.auth.api_keys import ApiKeys
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.stages import Metadata, Stage

EXPECTED = "send a key as 'Authorization: Bearer hub_…' or 'X-Api-Key: hub_…'"


class Authentication(Stage):
    """Refuses calls without a good key, and calls that the holder of the key may not make.

    Args:
        keys: the keys.
    """

    def __init__(self, keys: ApiKeys) -> None:
        self.keys = keys

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        """See `Stage`. Sets `exchange.caller`.

        Raises:
            HubError: UNAUTHENTICATED without a good key, FORBIDDEN if its holder may not do this.
        """
        exchange.caller = self.keys.caller(key_of(metadata))
        if exchange.action is not None:
            exchange.caller.require(exchange.action)

    def named(self, exchange: Exchange, model: str, by_caller: bool) -> None:
        """See `Stage`.

        Raises:
            HubError: FORBIDDEN if the holder of the key may not use the model.
        """
        exchange.caller.require_model(model, by_caller)


def key_of(metadata: Metadata) -> bytes:
    """The key that came with a request.

    Raises:
        HubError: UNAUTHENTICATED if there is none.
    """
    authorization = metadata.get(b"authorization", b"").strip()
    if not authorization:
        key = metadata.get(b"x-api-key", b"")
    else:
        scheme, _, key = authorization.partition(b" ")
        if scheme.lower() != b"bearer":  # it is not shown: it may be the key itself
            raise HubError(Kind.UNAUTHENTICATED, f"the credentials are not of kind 'Bearer': {EXPECTED}")
    key = key.strip()
    if not key:
        raise HubError(Kind.UNAUTHENTICATED, f"there is no key: {EXPECTED}")
    return key
