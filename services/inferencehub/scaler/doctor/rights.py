"""Which rights a scaler needs in Kubernetes, and whether it has them: Kubernetes itself says so (SelfSubjectAccessReview)."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from inferencehub.core.process.doctor.finding import Finding, fault, ok
from inferencehub.scaler.kube import Kube
from inferencehub.scaler.settings import ScalerSettings

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Right(NamedTuple):
    """One right.

    Args:
        verb, group, resource: as Kubernetes names them; a subresource follows a slash.
        namespace: where; "" for objects that belong to none, and for all namespaces.
        name: of the object; "" for all.
    """

    verb: str
    group: str
    resource: str
    namespace: str
    name: str = ""

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{f' {self.name}' if self.name else ''}{where}"


def needed(settings: ScalerSettings) -> list[Right]:
    """The rights that a scaler with these settings uses."""
    own = settings.namespace
    slices = ("discovery.k8s.io", "endpointslices", "" if settings.all_namespaces else own)
    rights = [Right("list", *slices), Right("watch", *slices)]
    if settings.metrics_api:
        secret = ("", "secrets", own, settings.certificate_secret)
        service = ("apiregistration.k8s.io", "apiservices", "", "v1beta1.external.metrics.k8s.io")
        config = ("", "configmaps", "kube-system", "extension-apiserver-authentication")
        rights += [
            Right("get", *secret),
            Right("watch", *secret),
            Right("patch", *service),
            Right("list", *config),
        ]
        rights += [Right("update", *secret)] if settings.make_certificate else []
    for deployment in settings.targets().values():
        rights.append(Right("get", "apps", "deployments", own, deployment))
        rights.append(Right("patch", "apps", "deployments/scale", own, deployment))
    for secret_name in [
        settings.authority_secret,
        *[kept.secret for kept in settings.certificates().values()],
    ]:
        if secret_name:
            rights.append(Right("update", "", "secrets", own, secret_name))
    return rights


async def of_rights(kube: Kube, settings: ScalerSettings) -> list[Finding]:
    """The rights that are missing.

    Raises:
        KubeError: if Kubernetes does not say.
    """
    rights = needed(settings)
    allowed = await asyncio.gather(*[has(kube, right) for right in rights])
    missing = [str(right) for right, allows in zip(rights, allowed, strict=True) if not allows]
    if missing:
        seen = f"the ServiceAccount of the scaler may not: {'; '.join(missing)}"
        fix = (
            "The chart's Role, ClusterRole and their bindings give these rights: helm upgrade puts them back where somebody has "
            "changed them (kubectl get roles,rolebindings)."
        )
        return [fault("rights", seen, fix)]
    return [ok("rights", f"all {len(rights)} rights that are used are there")]


async def has(kube: Kube, right: Right) -> bool:
    """Whether this process has a right."""
    resource, _, part = right.resource.partition("/")
    asked = {"verb": right.verb, "group": right.group, "resource": resource, "subresource": part}
    where = {"namespace": right.namespace, "name": right.name}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in (asked | where).items() if value}},
    }
    return bool((await kube.call("POST", REVIEWS, body)).get("status", {}).get("allowed"))
