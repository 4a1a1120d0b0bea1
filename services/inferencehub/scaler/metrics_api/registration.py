"""The scaler's registration in the cluster: its certificate in a Secret, and its APIService.

All replicas do the same, without a leader: what they write depends only on what they have read. If a write fails
because the object has a newer version, it is tried again with that version.

If an APIService exists without a server behind it, Kubernetes cannot delete any namespace in the cluster. `helm
uninstall` deletes the APIService first. But when the scaler's namespace is deleted, its pods go first. So the scaler
watches its namespace and deletes the APIService itself. Kubernetes waits 5 s before it deletes a namespace's contents.
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
SETTLE_S = 3.0  # how long after a change of the APIService every API server should know it


async def settled() -> None:
    """Wait until every API server should know the new trusted certificates. No API server confirms this."""
    await asyncio.sleep(SETTLE_S)


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of a registration.

    Args:
        look_s: seconds between two checks of the APIService and of the certificate's age.
        missing_s: seconds to wait for a missing APIService.
        settle: awaited after the APIService trusts a new certificate, before the scaler serves with it.
    """

    look_s: float = 10.0
    missing_s: float = 15.0
    settle: Callable[[], Awaitable[None]] = settled


PACE = Pace()


class Registration:
    """The registration of one replica (see the module's docstring).

    Args:
        kube: the Kubernetes API.
        settings: the scaler's settings.
        changed: called when there is a new certificate; callers already trust it then.
        pace: the times of the registration.
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
        self.ending = False  # whether the namespace is being deleted
        self._taking = asyncio.Lock()
        self._written_over = ""  # version of the Secret that a replica has replaced with a new certificate
        service, namespace = settings.service, settings.namespace
        self.names = (service, f"{service}.{namespace}", f"{service}.{namespace}.svc")

    async def follow_secret(self) -> None:
        """Use the certificate in the Secret, now and after each change. It never ends."""
        path, name = f"/api/v1/namespaces/{self.settings.namespace}/secrets", self.settings.certificate_secret
        async for found in self.kube.follow(path, **named(name)):
            if not found:
                logger.error("the Secret for the certificate does not exist", extra={"secret": name})
            for secret in found:
                async with self._taking:
                    await self._take(secret)

    async def keep(self) -> None:
        """Check the APIService and the certificate's age, again and again. It never ends."""
        path = f"/api/v1/namespaces/{self.settings.namespace}/secrets/{self.settings.certificate_secret}"
        while True:
            await asyncio.sleep(self.pace.look_s)
            async with self._taking:
                await self._take(await self.kube.call("GET", path))

    async def follow_namespace(self) -> None:
        """Delete the APIService as soon as the scaler's namespace is being deleted."""
        async for found in self.kube.follow("/api/v1/namespaces", **named(self.settings.namespace)):
            if any("deletionTimestamp" in namespace["metadata"] for namespace in found):
                self.ending = True
                await self._remove()

    async def _take(self, secret: Object) -> None:
        # While this change waited for the lock, a newer version may have been read.
        if secret["metadata"]["resourceVersion"] == self._written_over:
            return
        found = certificate.from_secret(secret)
        settings = self.settings
        if settings.make_certificate and (found is None or not found.fits(self.names, datetime.now(UTC))):
            await self._renew(secret, found)
            return  # the new certificate, made here or by another replica, arrives as the next change
        if found is None:
            logger.error("the Secret holds no certificate", extra={"secret": settings.certificate_secret})
            return
        trusted = not settings.make_certificate or await self._trust(found)
        if found != self.certificate:
            if self.certificate is not None:
                if not trusted:
                    return  # the previous certificate is still trusted; `keep` tries again
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
        """Write the trusted certificates into the APIService.

        Returns:
            Whether they are there. If not, `keep` tries again.
        """
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
                # 404: Helm creates the APIService after the pods. 409: it has changed since it was read.
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
                logger.info("APIService removed because the namespace is being deleted")
                return
            except KubeError as error:
                if error.status == 404:
                    return
                logger.warning("APIService not removed", extra={"error": str(error)})
                await asyncio.sleep(0.2)

    def _ours(self, service: Object) -> bool:
        """Whether an APIService points to this scaler's Service. Logs an error if not."""
        to = service["spec"].get("service") or {}
        ours = (to.get("namespace"), to.get("name")) == (self.settings.namespace, self.settings.service)
        if not ours:
            logger.error("the APIService points to another Service", extra={"service": to})
        return ours
