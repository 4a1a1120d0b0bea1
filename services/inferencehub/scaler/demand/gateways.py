"""Finds all gateways through the EndpointSlices of their ops Services, and asks them for their demand.

EndpointSlices are faster than DNS, which is seconds late. A gateway that they list as ready accepts requests. A gateway
whose readiness probe fails is no longer listed as ready, and the scaler then no longer waits for its answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple

import aiohttp
import msgspec

from inferencehub.core.tls.ops_certificate import OpsCertificate
from inferencehub.core.values.demand import Report
from inferencehub.scaler.demand.total import LEAST_S, Total
from inferencehub.scaler.kube import Kube, Object

logger = logging.getLogger(__name__)

LABEL = "inferencehub/demand=true"
RELEASE = "app.kubernetes.io/instance"
PORT = "ops"
EVERY_S = 1.0
ASK_S = 0.9
MOST_BYTES = 2**20  # of an answer: in other namespaces, any pod could claim to be a gateway
STALE_S = 60.0  # age at which the list of gateways is not used any more; a followed list is read at least every 35 s
FORGET_S = 3600.0  # how long a release is remembered after its last gateway was seen


class Release(NamedTuple):
    """A release of the chart."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class PolledGateway:
    """One gateway: the address of its ops port, whether it accepts requests, and whether that port speaks TLS."""

    address: str
    ready: bool
    secure: bool = False


class Gateways:
    """The demand of all gateways, by release.

    `silent` contains the addresses of the gateways that did not answer the last question.

    Args:
        kube: the Kubernetes API.
        namespace: the namespace whose EndpointSlices are followed; "" for all namespaces.
        stale_s: age in seconds at which the list of gateways is too old to use; no gateway is asked then.
        certificate: for gateways whose ops ports speak TLS.
    """

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        stale_s: float = STALE_S,
        certificate: OpsCertificate | None = None,
    ) -> None:
        self.kube = kube
        self.certificate = certificate
        self.stale_s = stale_s
        self.namespace = namespace
        self.known: dict[Release, list[PolledGateway]] | None = None
        self.first: float | None = None  # time of the first question
        self.totals: dict[Release, Total] = {}
        self._seen: dict[Release, float] = {}
        self._told = 0.0  # when the list of gateways was last received
        self.silent: set[str] = set()

    @property
    def read(self) -> bool:
        """Whether gateways have been asked for long enough: there is a reading if they have answered."""
        return self.first is not None and monotonic() - self.first > LEAST_S

    async def follow(self) -> None:
        """Keep the list of gateways up to date. It never ends."""
        within = f"/namespaces/{self.namespace}" if self.namespace else ""
        path = f"/apis/discovery.k8s.io/v1{within}/endpointslices"
        async for slices in self.kube.follow(path, labelSelector=LABEL):
            self.take(gateways_of(slices))

    def take(self, known: dict[Release, list[PolledGateway]]) -> None:
        """Take the present list of gateways."""
        if known != self.known:
            counts = {f"{r.namespace}/{r.name}": len(found) for r, found in known.items()}
            logger.info("gateways changed", extra={"gateways": counts})
        self.known, self._told = known, monotonic()

    async def ask(self) -> None:
        """Ask all gateways once a second; none while the list is unknown or too old. It never ends."""
        async with caller() as session:
            while True:
                began = monotonic()
                if self.known is not None and began - self._told < self.stale_s:
                    await self.round(session, self.known)
                await asyncio.sleep(max(0.0, began + EVERY_S - monotonic()))

    async def round(self, session: aiohttp.ClientSession, known: dict[Release, list[PolledGateway]]) -> None:
        """Ask each of these gateways once, and add their reports to the totals."""
        asked = [(release, gateway) for release, found in known.items() for gateway in found]
        answers = await asyncio.gather(*[self._report(session, gateway) for _, gateway in asked])
        now = monotonic()
        self.first = self.first or now
        for release in known:
            mine = [(g, a) for (r, g), a in zip(asked, answers, strict=True) if r == release]
            ready = [answer for gateway, answer in mine if gateway.ready]
            reports = [answer for _, answer in mine if answer is not None]
            answered = len([answer for answer in ready if answer is not None])
            self.totals.setdefault(release, Total()).add(now, len(ready), answered, reports)
            self._seen[release] = now
        for release in [r for r, seen in self._seen.items() if now - seen > FORGET_S]:
            del self.totals[release], self._seen[release]
        self.silent &= {gateway.address for _, gateway in asked}

    async def _report(self, session: aiohttp.ClientSession, gateway: PolledGateway) -> Report | None:
        """The report of one gateway; None if it does not answer."""
        address, certificate = gateway.address, self.certificate
        tls = certificate.asking if gateway.secure and certificate is not None else True
        url = f"{'https' if gateway.secure else 'http'}://{address}/demand"
        try:
            if gateway.secure and certificate is None:
                raise ValueError(
                    "its ops port speaks TLS, and HUB_OPS_TLS_CERT names no certificate to show there"
                )
            async with session.get(url, allow_redirects=False, ssl=tls) as answer:
                if answer.status != 200:
                    raise ValueError(f"status {answer.status}")
                body = b""
                async for part in answer.content.iter_any():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise ValueError(f"more than {MOST_BYTES} bytes")
                report = msgspec.json.decode(body, type=Report)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, msgspec.DecodeError) as error:
            if address not in self.silent:
                reason = str(error) or type(error).__name__
                logger.warning("gateway silent", extra={"gateway": address, "reason": reason})
                self.silent.add(address)
            return None
        self.silent.discard(address)
        return report


def caller() -> aiohttp.ClientSession:
    """An HTTP client for asking gateways: all at the same time, each for at most `ASK_S`."""
    timeout = aiohttp.ClientTimeout(total=ASK_S)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)


def gateways_of(slices: Iterable[Object]) -> dict[Release, list[PolledGateway]]:
    """The gateways in EndpointSlices, by release; the list is empty if all gateways of a release are gone."""
    found: dict[Release, dict[str, PolledGateway]] = {}
    for item in slices:
        meta = item["metadata"]
        release = Release(meta["namespace"], meta.get("labels", {}).get(RELEASE, ""))
        port: Object = next((port for port in item.get("ports") or () if port.get("name") == PORT), {})
        number, secure = port.get("port"), port.get("appProtocol") == "https"
        gateways = found.setdefault(release, {})
        if number is None or item.get("addressType") == "FQDN":
            continue
        for endpoint in item.get("endpoints") or ():
            host = str(endpoint["addresses"][0])
            address = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
            gateways[address] = PolledGateway(address, is_ready(endpoint), secure)
    return {
        release: [gateway for _, gateway in sorted(gateways.items())] for release, gateways in found.items()
    }


def is_ready(endpoint: dict[str, Any]) -> bool:
    """Whether an endpoint accepts requests; "unknown" counts as yes, as Kubernetes defines it."""
    ready = (endpoint.get("conditions") or {}).get("ready")
    return ready is not False
