"""Whether the autoscalers of the release get a metric, and whether Kubernetes reaches the scaler's metrics API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from time import time
from urllib.parse import quote

from inferencehub.core.process.doctor.finding import Finding, fault, ok, warning
from inferencehub.scaler.kube import Kube, KubeError, Object
from inferencehub.scaler.metrics_api.registration import APISERVICE
from inferencehub.scaler.settings import ScalerSettings

FRESH_S = 60.0  # until when an autoscaler may have no metric: Kubernetes looks every 15 s, and metrics-server needs some looks
LABEL = "app.kubernetes.io/instance"
FIXES = {
    "FailedGetResourceMetric": "The cluster needs metrics-server (kubectl top pods must work), and pods need a request of CPU.",
    "FailedGetExternalMetric": "It asks this scaler: see what is said of the metrics API and of gateways.",
    "FailedGetPodsMetric": "It asks custom.metrics.k8s.io: look at the adapter that serves it (kubectl get apiservices).",
    "InvalidSelector": "Another autoscaler has the same pods, or it selects none: kubectl get hpa -A.",
}
NO_FIX = "kubectl describe hpa has its events; kubectl get apiservices says which source of metrics is not available."


async def of_autoscalers(kube: Kube, settings: ScalerSettings) -> list[Finding]:
    """The autoscalers of this release."""
    path = f"/apis/autoscaling/v2/namespaces/{settings.namespace}/horizontalpodautoscalers"
    try:
        listed = await kube.call("GET", f"{path}?labelSelector={quote(f'{LABEL}={settings.release}')}")
    except KubeError as error:
        if error.status != 403:
            raise
        fix = "The Role of the chart has it (list horizontalpodautoscalers): helm upgrade. Scaling itself does not need it."
        return [warning("autoscalers", "the scaler may not read them", fix)]
    found = [one for item in listed.get("items") or () for one in of_autoscaler(item)]
    return found or [ok("autoscalers", f"there are none of release {settings.release}")]


def of_autoscaler(item: Object) -> list[Finding]:
    """One autoscaler, by its conditions."""
    what, status = f"autoscaler {item['metadata']['name']}", item.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    able, active, limited = (
        conditions.get(kind, {}) for kind in ("AbleToScale", "ScalingActive", "ScalingLimited")
    )
    count, most = status.get("currentReplicas", 0), item["spec"].get("maxReplicas", 0)
    if not conditions:
        return [warning(what, "Kubernetes has not looked at it yet", "Wait a minute, then ask again.")]
    if able.get("status") == "False":
        return [
            fault(what, f"it cannot scale: {said(able)}", "Does its Deployment exist? kubectl describe hpa.")
        ]
    if active.get("status") == "False" and active.get("reason") != "ScalingDisabled":
        if age_s(item) < FRESH_S:
            return [
                warning(
                    what,
                    f"it is new, and it has no metric yet: {said(active)}",
                    "Wait a minute, then ask again.",
                )
            ]
        fix = FIXES.get(str(active.get("reason")), NO_FIX)
        return [fault(what, f"it has no metric, so the number of pods does not change: {said(active)}", fix)]
    if limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas":
        fix = "If requests wait, raise maxReplicas; if pods are Pending, the cluster has no room for more."
        return [warning(what, f"it wants more than its maximum, {most} pods", fix)]
    return [ok(what, f"{count} pods, at most {most}")]


def age_s(item: Object) -> float:
    """How long ago an object was made, in seconds."""
    return time() - datetime.fromisoformat(item["metadata"]["creationTimestamp"]).timestamp()


def said(condition: Mapping[str, object]) -> str:
    """Why a condition is as it is, in Kubernetes' words."""
    return f"{condition.get('reason', 'no reason given')}: {condition.get('message', '')}"


async def of_metrics_api(kube: Kube) -> list[Finding]:
    """Whether Kubernetes reaches the metrics API of this release.

    Raises:
        KubeError: if it does not say.
    """
    what = "metrics API"
    try:
        found = await kube.call("GET", APISERVICE)
    except KubeError as error:
        if error.status not in (403, 404):
            raise
        seen = "there is no APIService v1beta1.external.metrics.k8s.io" if error.status == 404 else str(error)
        return [fault(what, seen, "helm upgrade makes it; without it autoscalers get no demand.")]
    conditions = {one["type"]: one for one in (found.get("status") or {}).get("conditions") or ()}
    available = conditions.get("Available", {})
    if available.get("status") == "False":
        fix = (
            "The API server must reach port 8443 of the scaler: look at network policies (networkPolicy.scaler.from) and, on "
            "some clouds, at the firewall from the control plane to the nodes."
        )
        return [fault(what, f"Kubernetes does not reach it: {said(available)}", fix)]
    return [ok(what, "Kubernetes reaches it")]
