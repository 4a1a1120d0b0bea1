"""Decides which callers the metrics API admits: only Kubernetes' API server, by its client certificate.

A ConfigMap of the cluster names the CA that signs this certificate, and the names that the certificate may have
(https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/). The TLS handshake fails if another CA
has signed the certificate. A certificate with another name is refused here.
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
    """The CA and the names of the API server's client certificate.

    Args:
        kube: the Kubernetes API.
        changed: called when the CA has changed.
    """

    def __init__(self, kube: Kube, changed: Callable[[], Awaitable[None]]) -> None:
        self.kube = kube
        self.changed = changed
        self.authority = ""  # the CA's certificate as PEM; "" until it is known
        self.names: frozenset[str] = frozenset()

    async def follow(self) -> None:
        """Keep the CA and the names up to date. It never ends."""
        async for found in self.kube.follow(PATH, **named(CONFIG_MAP)):
            for item in found:
                await self.read(item.get("data") or {})

    async def read(self, data: Mapping[str, str]) -> None:
        """Read the CA and the names from the ConfigMap's data."""
        authority = data.get("requestheader-client-ca-file", "")
        if not authority:
            logger.error("the cluster names no CA for its API server, so every caller is refused")
        names = msgspec.json.decode(data.get("requestheader-allowed-names") or "[]", type=frozenset[str])
        self.names = names
        if authority != self.authority:
            self.authority = authority
            await self.changed()

    def admits(self, certificate: Mapping[str, Any]) -> bool:
        """Whether a verified certificate has one of the allowed names; any name is allowed if there is no list.

        Args:
            certificate: as Python's `getpeercert` returns it.
        """
        common_names = {
            value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"
        }
        return not self.names or bool(self.names & common_names)
