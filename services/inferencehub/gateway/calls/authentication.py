"""The stage that asks who calls, the same on all fronts."""

from __future__ import annotations

from inferencehub.core.auth.authentication import Authentication, Metadata
from inferencehub.core.auth.caller import Action
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.stages import Stage


class KnownCallers(Stage):
    """Refuses calls without good credentials, and calls that their holder may not make.

    Args:
        authentication: says who calls.
    """

    def __init__(self, authentication: Authentication) -> None:
        self._authentication = authentication

    def check(self, exchange: Exchange, metadata: Metadata) -> None:
        """See `Stage`. Sets `exchange.caller`.

        Raises:
            HubError: UNAUTHENTICATED without good credentials, FORBIDDEN if the caller may not do this.
        """
        exchange.caller = self._authentication.caller(metadata, exchange.peer)
        if exchange.action is not None:
            exchange.caller.require(exchange.action)

    def again(self, exchange: Exchange, metadata: Metadata) -> None:
        """See `Stage`. Sets `exchange.caller` of a question: its answers go on with what the caller may see now.

        Raises:
            HubError: UNAUTHENTICATED if the credentials are good no longer, FORBIDDEN if the caller may not do this now.
        """
        caller = self._authentication.caller(metadata, exchange.peer)
        if exchange.action is not None:
            caller.require(exchange.action)
        if exchange.model:
            caller.require_model(exchange.model)
        if exchange.action is Action.DESCRIBE:
            exchange.caller = caller

    def named(self, exchange: Exchange, model: str, by_caller: bool) -> None:
        """See `Stage`.

        Raises:
            HubError: FORBIDDEN if the caller may not use the model.
        """
        exchange.caller.require_model(model, by_caller)
