"""Who may call the metrics API: Kubernetes' API server, by the certificate that it shows when it sends a call on.

The cluster says in a ConfigMap which authority signs that certificate and which names it may have
(https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/). A certificate of another authority
ends in the TLS handshake, one of another name is refused here.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from inferencehub.scaler.kube import Kube, named

logger = logging.getLogger(__name__)

CONFIG_MAP = "extension-apiserver-authentication"
PATH = "/api/v1/namespaces/kube-system/configmaps"


class Callers:
    """What the cluster says of its API server.

    Args:
        kube: Kubernetes' API.
        changed: called when the authority has changed.
    """

    def __init__(self, kube: Kube, changed: Callable[[], Awaitable[None]]) -> None:
        self.kube = kube
        self.changed = changed
        self.authority = ""  # PEM; "" until it is known
        self.names: frozenset[str] = frozenset()

    async def follow(self) -> None:
        """Know them, for ever."""
        async for found in self.kube.follow(PATH, **named(CONFIG_MAP)):
            for item in found:
                await self.read(item.get("data") or {})

    async def read(self, data: Mapping[str, str]) -> None:
        """Take over what the ConfigMap holds."""
        authority = data.get("requestheader-client-ca-file", "")
        if not authority:
            logger.error("the cluster names no authority for its API server, so that nobody can be let in")
        names = msgspec.json.decode(data.get("requestheader-allowed-names") or "[]", type=frozenset[str])
        self.names = names
        if authority != self.authority:
            self.authority = authority
            await self.changed()

    def admits(self, certificate: Mapping[str, Any]) -> bool:
        """Whether a verified certificate, as Python's `getpeercert` shows it, has one of the names, if there are any."""
        common_names = {
            value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"
        }
        return not self.names or bool(self.names & common_names)
