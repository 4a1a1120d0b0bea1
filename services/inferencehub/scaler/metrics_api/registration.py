"""The scaler's place in the cluster: its certificate in a Secret, and its APIService.

Each replica does the same and none leads: what is written depends on what was read alone, and a write that meets a
newer version is tried again with that one.

A cluster in which an APIService has nobody behind it can end no namespace. `helm uninstall` takes it away first; a
namespace that is deleted takes the pods first, so the scaler watches its own and takes the APIService away itself.
Kubernetes waits 5 s before it begins with the contents of a namespace.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

from inferencehub.scaler.kube import Kube, KubeError, Object, named
from inferencehub.scaler.metrics_api import certificate
from inferencehub.scaler.metrics_api.certificate import Certificate
from inferencehub.scaler.settings import ScalerSettings

logger = logging.getLogger(__name__)

APISERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
SETTLE_S = 3.0  # from writing whom to trust until every API server has heard of it


async def settled() -> None:
    """Wait until every API server has heard of whom to trust; none says so."""
    await asyncio.sleep(SETTLE_S)


@dataclass(frozen=True, slots=True)
class Pace:
    """When a registration does what.

    Args:
        look_s: seconds between two looks at the APIService and the age of the certificate.
        missing_s: seconds for which a missing APIService is waited for.
        settle: awaited between writing whom to trust and serving with it.
    """

    look_s: float = 10.0
    missing_s: float = 15.0
    settle: Callable[[], Awaitable[None]] = settled


PACE = Pace()


class Registration:
    """See the module's text.

    Args:
        kube: Kubernetes' API.
        settings: the scaler's.
        changed: called when there is a new certificate, which callers trust by then.
        pace: when it does what.
    """

    def __init__(
        self,
        kube: Kube,
        settings: ScalerSettings,
        changed: Callable[[], Awaitable[None]],
        pace: Pace = PACE,
    ) -> None:
        self.kube = kube
        self.settings = settings
        self.changed = changed
        self.pace = pace
        self.certificate: Certificate | None = None
        self.ending = False  # the namespace goes
        self._taking = asyncio.Lock()
        self._written_over = (
            ""  # the version of the Secret that a new certificate was written over, here or elsewhere
        )
        service, namespace = settings.service, settings.namespace
        self.names = (service, f"{service}.{namespace}", f"{service}.{namespace}.svc")

    async def follow_secret(self) -> None:
        """Serve with what is in the Secret, for ever."""
        path, name = f"/api/v1/namespaces/{self.settings.namespace}/secrets", self.settings.certificate_secret
        async for found in self.kube.follow(path, **named(name)):
            if not found:
                logger.error("the Secret for the certificate is not there", extra={"secret": name})
            for secret in found:
                async with self._taking:
                    await self._take(secret)

    async def keep(self) -> None:
        """Look at the APIService and the age of the certificate again and again."""
        path = f"/api/v1/namespaces/{self.settings.namespace}/secrets/{self.settings.certificate_secret}"
        while True:
            await asyncio.sleep(self.pace.look_s)
            async with self._taking:
                await self._take(await self.kube.call("GET", path))

    async def follow_namespace(self) -> None:
        """Take the APIService away as soon as the namespace is told to go."""
        async for found in self.kube.follow("/api/v1/namespaces", **named(self.settings.namespace)):
            if any("deletionTimestamp" in namespace["metadata"] for namespace in found):
                self.ending = True
                await self._remove()

    async def _take(self, secret: Object) -> None:
        # A change that waited for the lock may be older than what was read under it.
        if secret["metadata"]["resourceVersion"] == self._written_over:
            return
        found = certificate.from_secret(secret)
        settings = self.settings
        if settings.make_certificate and (found is None or not found.fits(self.names, datetime.now(UTC))):
            await self._renew(secret, found)
            return  # what was written, here or by another replica, comes as the next change
        if found is None:
            logger.error("the Secret holds no certificate", extra={"secret": settings.certificate_secret})
            return
        trusted = not settings.make_certificate or await self._trust(found)
        if found != self.certificate:
            if self.certificate is not None:
                if not trusted:
                    return  # the one before is trusted still, and `keep` comes back to this one
                await self.pace.settle()
            self.certificate = found
            await self.changed()

    async def _renew(self, secret: Object, found: Certificate | None) -> None:
        made = await asyncio.to_thread(certificate.make, self.names, found)
        meta = secret["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/secrets/{meta['name']}"
        try:
            await self.kube.call("PUT", path, certificate.to_secret(secret, made))
        except KubeError as error:
            if error.status != 409:  # another replica was faster
                raise
        else:
            logger.info("certificate made", extra={"names": self.names, "renewed": found is not None})
        self._written_over = meta["resourceVersion"]

    async def _trust(self, found: Certificate) -> bool:
        """Write into the APIService whom callers shall trust; whether that is done. If not, `keep` looks again."""
        wanted = b64encode(found.authority.encode()).decode()
        until = monotonic() + self.pace.missing_s
        while not self.ending and monotonic() < until:
            try:
                service = await self.kube.call("GET", APISERVICE)
                if not self._ours(service) or service["spec"].get("caBundle") == wanted:
                    return True
                version = service["metadata"]["resourceVersion"]
                change = {"metadata": {"resourceVersion": version}, "spec": {"caBundle": wanted}}
                await self.kube.call("PATCH", APISERVICE, change)
                count = b64decode(wanted).count(b"BEGIN CERTIFICATE")
                logger.info("certificate trusted", extra={"certificates": count})
                return True
            except KubeError as error:
                # 404: Helm makes it after the pods. 409: it has changed since it was read.
                if error.status not in (404, 409):
                    logger.warning("APIService not written", extra={"error": str(error)})
                await asyncio.sleep(0.5)
        return False

    async def _remove(self) -> None:
        while True:
            try:
                service = await self.kube.call("GET", APISERVICE)
                if not self._ours(service):
                    return
                meta = service["metadata"]
                same = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
                options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": same}
                await self.kube.call("DELETE", APISERVICE, options)
                logger.info("APIService removed, for the namespace goes")
                return
            except KubeError as error:
                if error.status == 404:
                    return
                logger.warning("APIService not removed", extra={"error": str(error)})
                await asyncio.sleep(0.2)

    def _ours(self, service: Object) -> bool:
        """Whether an APIService sends its callers here."""
        to = service["spec"].get("service") or {}
        ours = (to.get("namespace"), to.get("name")) == (self.settings.namespace, self.settings.service)
        if not ours:
            logger.error("the APIService belongs to somebody else", extra={"service": to})
        return ours
