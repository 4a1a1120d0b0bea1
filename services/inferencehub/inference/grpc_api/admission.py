"""Who may call at the gRPC port of a pod, and what.

    in plain                   everybody may do everything, because nobody can be told apart from a gateway
    TLS between the tiers      gateways, which have asked their callers already
    and HUB_DIRECT_CALLS       others too whose certificate is of the same authority, each call with an API key

The port of gateways' streams is for gateways alone (`streams.py`).
"""

from __future__ import annotations

from typing import Any

from inferencehub.core.auth.api_keys import ApiKeys
from inferencehub.core.auth.audit import REFUSALS, Audit
from inferencehub.core.auth.authentication import Authentication
from inferencehub.core.auth.caller import ANYONE, Caller
from inferencehub.core.grpc_server.actions import action_of
from inferencehub.core.grpc_server.credentials import fields_of, peer_of
from inferencehub.core.tls.certificate import Certificate
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.inference.grpc_api.call import ID_LIMIT, request_id


class Admission:
    """See the module's text.

    Args:
        certificate: says which names are those of gateways; None in plain.
        keys: the keys of direct callers; None if there are no such callers.
    """

    def __init__(self, certificate: Certificate | None = None, keys: ApiKeys | None = None) -> None:
        self._certificate = certificate
        self._authentication = None if keys is None else Authentication(keys, None)
        self._audit = Audit()

    def check(self, method: str, context: Any) -> None:
        """Check a call over TLS before its message is read.

        Raises:
            HubError: UNAUTHENTICATED if it is neither a gateway's nor has a good key, FORBIDDEN if the key may not do this.
        """
        try:
            action = action_of(method)
            caller = self._known(context)
            if action is not None:
                caller.require(action)
        except HubError as error:
            self.refused(error, context)
            raise

    def caller(self, context: Any) -> Caller:
        """Who makes a call that has passed `check`; ANYONE for a gateway.

        Raises:
            HubError: UNAUTHENTICATED if its key is no longer good.
        """
        return ANYONE if self._authentication is None else self._known(context)

    def _known(self, context: Any) -> Caller:
        assert self._certificate is not None
        peer = peer_of(context)
        objection = self._certificate.objection(peer.names)
        if not objection:
            return ANYONE
        if self._authentication is None:
            raise HubError(Kind.UNAUTHENTICATED, objection)
        return self._authentication.caller(fields_of(context.invocation_metadata() or ()), peer)

    def owner(self, context: Any) -> str:
        """Whose stream it is, for the number of streams that one may have; "" for a gateway's and for anybody's.

        Raises:
            HubError: as `caller`.
        """
        try:
            caller = self.caller(context)
        except HubError as error:
            self.refused(error, context)
            raise
        return caller.who if caller.id else ""

    def shows(self, service: str, context: Any) -> bool:
        """Whether a caller may know the health of a service, which is a model, the whole pod ("") or a probe."""
        try:
            return not service or "/" in service or self.caller(context).sees(service)
        except HubError:
            return False

    def refused(self, error: HubError, context: Any) -> None:
        """Write a line of the audit log if a call ends because of who calls."""
        if error.kind not in REFUSALS:
            return
        try:
            caller = self.caller(context)
        except HubError:
            caller = ANYONE
        self._audit.refused(error, peer_of(context), request_id(context)[:ID_LIMIT], caller)

    def controlled(self, method: str, caller: Caller, context: Any) -> None:
        """Write a line of the audit log about a call that changes settings."""
        self._audit.controlled(method, peer_of(context), request_id(context)[:ID_LIMIT], caller)
