"""The checks of a scaler: Kubernetes, its rights there, gateways, and autoscalers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from time import monotonic, time

from inferencehub.core.process.doctor.doctor import Check, Doctor
from inferencehub.core.process.doctor.finding import Finding, fault, ok, warning
from inferencehub.core.process.doctor.process import of_clock, of_end, of_files, of_limits
from inferencehub.core.tls.ops_certificate import OpsCertificate
from inferencehub.scaler.demand.gateways import Gateways, Release
from inferencehub.scaler.doctor.autoscalers import of_autoscalers, of_metrics_api
from inferencehub.scaler.doctor.rights import of_rights
from inferencehub.scaler.kube import Kube, KubeError
from inferencehub.scaler.settings import ScalerSettings


def doctor_of(
    settings: ScalerSettings,
    kube: Kube,
    gateways: Gateways,
    certificate: OpsCertificate | None,
    ends: Mapping[str, datetime],
) -> Doctor:
    """The doctor of a scaler.

    Args:
        settings: of the scaler.
        kube: the Kubernetes API.
        gateways: that it asks for their demand.
        certificate: of the ops port.
        ends: when each certificate ends that the scaler keeps for the tiers, by what it is for.
    """

    async def files() -> list[Finding]:
        kept = [of_end(f"certificate of {which}", at.timestamp()) for which, at in ends.items()]
        return [*of_files([] if certificate is None else [certificate]), *kept]

    async def demand() -> list[Finding]:
        return of_gateways(gateways, Release(settings.namespace, settings.release))

    checks: dict[str, Check] = {
        "Kubernetes": partial(asked, partial(of_kubernetes, kube, settings)),
        "rights": partial(asked, partial(of_rights, kube, settings)),
        "autoscalers": partial(asked, partial(of_autoscalers, kube, settings)),
        "gateways": demand,
        "files": files,
        "limits": of_limits,
    }
    if settings.metrics_api:
        checks["metrics API"] = partial(asked, partial(of_metrics_api, kube))
    return Doctor("scaler", checks)


async def asked(check: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """The findings of a check that asks Kubernetes; none if it does not answer, for `of_kubernetes` says so once."""
    try:
        return await check()
    except KubeError as error:
        if error.status == 0:
            return []
        return [warning("Kubernetes", str(error), "See what is said of rights.")]


async def of_kubernetes(kube: Kube, settings: ScalerSettings) -> list[Finding]:
    """Whether the Kubernetes API answers, and what its clock shows."""
    try:
        found = await kube.call("GET", "/version")
    except KubeError as error:
        fix = "Look at the network policies of the scaler (port 443 and 6443), and at HUB_KUBERNETES_URL and HUB_CREDENTIALS."
        if error.status in (401, 403):
            fix = "Look at the ServiceAccount of the scaler, and whether its token is mounted."
        return [fault("Kubernetes", f"{settings.kubernetes_url} does not answer: {error}", fix)]
    version = found.get("gitVersion", "an unknown version")
    clock = None if kube.ahead_s is None else of_clock("the Kubernetes API", time() + kube.ahead_s)
    return [ok("Kubernetes", f"its API answers, version {version}"), *([] if clock is None else [clock])]


def of_gateways(gateways: Gateways, own: Release) -> list[Finding]:
    """Whether the demand of all gateways is known."""
    what = "gateways"
    if gateways.known is None:
        fix = (
            "See what is said of Kubernetes and of rights: the scaler finds gateways by their EndpointSlices."
        )
        return [fault(what, "it does not know which gateways there are", fix)]
    if not gateways.known.get(own):
        seen = f"there is none of release {own.namespace}/{own.name}, so no demand is known"
        fix = "Do gateways run, and is there a Service for their ops ports? kubectl get endpointslices."
        return [fault(what, seen, fix)]
    found = []
    for release, known in sorted(gateways.known.items()):
        silent = sorted({one.address for one in known} & gateways.silent)
        if silent:
            seen = f"{len(silent)} of {len(known)} of release {release.namespace}/{release.name} do not answer: {silent[0]}"
            fix = (
                "The scaler must reach the ops port of gateways: look at network policies, and whether both have TLS there. "
                "Until then autoscalers keep what they know, for a minute."
            )
            found.append(fault(what, seen, fix))
    total = gateways.totals.get(own)
    if not found and (total is None or total.read(monotonic()) is None):
        return [warning(what, "there is no reading of the demand yet", "Wait some seconds, then ask again.")]
    return found or [ok(what, f"all {len(gateways.known[own])} answer")]
