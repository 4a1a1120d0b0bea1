"""The life of the scaler: it follows objects in Kubernetes, asks gateways, and answers autoscalers.

It keeps nothing on disk.

start   follow gateways, certificate, callers and namespace, and keep the certificates of the tiers, each in an endless
        task; the scaler is ready when it has asked gateways for long enough and the metrics API has a certificate
drain   report "not ready", and keep serving for `drain_wait_s`, until Kubernetes has noticed it
stop    close the API, then end the tasks
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic

from aiohttp import web

from inferencehub.core.http1.server import listen
from inferencehub.core.process.ops_port import OpsServer
from inferencehub.scaler.activator import Activator
from inferencehub.scaler.demand.gateways import Gateways, Release
from inferencehub.scaler.demand.page import demand_page
from inferencehub.scaler.demand.total import Total
from inferencehub.scaler.doctor.checks import doctor_of
from inferencehub.scaler.kube import Kube, KubeError
from inferencehub.scaler.metrics import Metrics
from inferencehub.scaler.metrics_api.api import MetricsApi
from inferencehub.scaler.metrics_api.callers import Callers
from inferencehub.scaler.metrics_api.registration import PACE, Pace, Registration
from inferencehub.scaler.settings import ScalerSettings
from inferencehub.scaler.tier_tls.keeper import TierCertificates

logger = logging.getLogger(__name__)

LOOK_S = 1.0
AGAIN_S = 1.0


class Scaler:
    """One process of the scaler.

    Args:
        settings: the scaler's settings.
        pace: when the scaler checks its certificate, its APIService and the certificates of the tiers.

    Raises:
        BadFile: if the certificate of the ops port can't be used.
    """

    def __init__(
        self,
        settings: ScalerSettings,
        pace: Pace = PACE,
    ) -> None:
        self.settings = settings
        self.port = settings.port
        self.draining = False
        self.kube = Kube(settings.kubernetes_url, Path(settings.credentials))
        certificate = settings.ops_certificate()
        followed = "" if settings.all_namespaces else settings.namespace
        self.gateways = Gateways(self.kube, followed, certificate=certificate)
        self.tier_certificates = TierCertificates(self.kube, settings, pace.look_s)
        self.metrics = Metrics(self.gateways.totals, self.tier_certificates.ends, certificate)
        self.callers = Callers(self.kube, self._listen)
        self.registration = Registration(self.kube, settings, self._listen, pace)
        self.activators = [
            Activator(self.kube, settings.namespace, pool, deployment, self.metrics.moved)
            for pool, deployment in settings.targets().items()
        ]
        api = MetricsApi(self.gateways.totals, self.callers, self.metrics.called)
        self._runner = web.AppRunner(api.app, access_log=None)
        self._context: ssl.SSLContext | None = None
        ends = self.tier_certificates.ends
        self.doctor = doctor_of(settings, self.kube, self.gateways, certificate, ends)
        page = demand_page(self.gateways.totals, settings.namespace)
        self.ops = OpsServer(
            settings.ops_port,
            self.metrics.registry,
            self.not_ready,
            {"/demand": page, "/doctor": self.doctor.page},
            certificate=certificate,
        )
        self._tasks: list[asyncio.Task[None]] = []

    def not_ready(self) -> str:
        """Why the scaler does not answer autoscalers; "" if it does."""
        if self.draining:
            return "it is draining"
        if self.gateways.known is None:
            return "it does not know yet which gateways there are"
        if self.settings.metrics_api and not self._runner.sites:
            missing = [] if self.registration.certificate else ["its certificate"]
            missing += [] if self.callers.authority else ["the CA of Kubernetes' API server"]
            return f"the metrics API waits for {' and '.join(missing)}"
        if not self.gateways.read:
            return "it has not asked gateways for long enough"
        return ""

    async def start(self) -> None:
        """Start to follow Kubernetes, to ask gateways and to listen.

        Raises:
            OSError: if a port is taken, or if there are no credentials.
        """
        await self.kube.start()
        await self.ops.start()
        works: list[Callable[[], Awaitable[None]]] = [self.gateways.follow, self.gateways.ask]
        if self.activators:
            works.append(self._activate)
        if self.settings.authority_secret:
            works.append(self.tier_certificates.keep)
        if self.settings.metrics_api:
            await self._runner.setup()
            works += [
                self.callers.follow,
                self.registration.follow_secret,
                self.registration.keep,
                self.registration.follow_namespace,
            ]
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._for_ever(work)) for work in works]

    async def drain(self) -> None:
        """Report "not ready", and keep serving until Kubernetes has noticed it."""
        self.draining = True
        await asyncio.sleep(self.settings.drain_wait_s)

    async def stop(self) -> None:
        """Close the API, then end everything else."""
        await self._runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.ops.stop(1)
        await self.doctor.stop()
        await self.kube.stop()
        logger.info("stopped")

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run an endless work; if it fails, start it again."""
        while True:
            try:
                await work()
            except KubeError as error:
                logger.warning("Kubernetes refused", extra={"error": str(error)})
            except Exception:
                logger.exception("a task failed and starts again")
            await asyncio.sleep(AGAIN_S)

    async def _listen(self) -> None:
        """Listen with the present certificates. If the API listens already, use them for all new connections."""
        certificate, authority = self.registration.certificate, self.callers.authority
        if certificate is None or not authority:
            return
        self._context = certificate.context(authority)
        failing = ""
        while not self._runner.sites:
            try:  # neither certificate may change again for months
                sock = listen(self.port)
            except OSError as error:
                if str(error) != failing:
                    logger.error("the metrics API can't listen", extra={"error": str(error)})
                failing = str(error)
                await asyncio.sleep(AGAIN_S)
                continue
            # The listening socket is kept: closing it would cut off connections that wait to be accepted.
            self._context.sni_callback = self._newest
            self.port = sock.getsockname()[1]
            await web.SockSite(self._runner, sock, ssl_context=self._context).start()
        logger.info("listening", extra={"port": self.port, "ops_port": self.ops.port})

    def _newest(self, tls: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
        """Select the newest certificates; called in each TLS handshake, after the client's hello."""
        assert self._context is not None
        tls.context = self._context

    async def _activate(self) -> None:
        """Run the activators of all pools, once a second."""
        release = Release(self.settings.namespace, self.settings.release)
        while True:
            await asyncio.sleep(LOOK_S)
            at = monotonic()
            total = self.gateways.totals.get(release) or Total()
            reading, told = total.read(at), total.told(at)
            for activator in self.activators:
                await activator.look(reading, told)
