"""external.metrics.k8s.io/v1beta1: the API through which a HorizontalPodAutoscaler reads the demand.

Kubernetes' API server authenticates and authorises the callers of /apis/external.metrics.k8s.io, and forwards their
requests to this API. So that server is the only caller here, and it shows a client certificate (`Callers`); all other
callers are refused. There is one metric, `inferencehub_demand`, with the labels `release` and `pool`:

    GET /apis/external.metrics.k8s.io/v1beta1                                      the list of metrics
    GET …/v1beta1/namespaces/{namespace}/{metric}?labelSelector=release=a,pool=b   its value, in thousandths of a pod

If the demand is not known, the answer is 404, never 0. An autoscaler then changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from aiohttp import web

from inferencehub.core.values.demand import METRIC
from inferencehub.core.values.errors import listed
from inferencehub.scaler.demand.gateways import Release
from inferencehub.scaler.demand.total import Total
from inferencehub.scaler.metrics_api.callers import Callers

logger = logging.getLogger(__name__)

GROUP = "external.metrics.k8s.io"
VERSION = f"{GROUP}/v1beta1"
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
}
MOST_NAMED = 200  # characters of a caller's text in an error


class Refused(Exception):
    """An error that is answered in the format of Kubernetes' API."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class MetricsApi:
    """The web application of the API.

    Args:
        totals: the demand by release; the scaler changes this mapping while it runs.
        callers: decides which callers are admitted.
        count: called with the status of each answer.
    """

    def __init__(
        self, totals: Mapping[Release, Total], callers: Callers, count: Callable[[int], None]
    ) -> None:
        self.totals = totals
        self.callers = callers
        self.count = count
        self.app = web.Application(middlewares=[self._border])
        self.app.router.add_get(f"/apis/{VERSION}", self.resources)
        self.app.router.add_get(f"/apis/{VERSION}/namespaces/{{namespace}}/{{metric}}", self.values)

    async def resources(self, request: web.Request) -> web.Response:
        """The list of metrics. Kubernetes asks for it several times a second, to see whether the API is available."""
        resource = {
            "name": METRIC,
            "singularName": "",
            "namespaced": True,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }
        listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION}
        return web.json_response({**listed, "resources": [resource]})

    async def values(self, request: web.Request) -> web.Response:
        """The demand for the pools that the label selector matches.

        Raises:
            Refused: 404 if it matches no pool with a known demand, 400 if it is not supported.
        """
        namespace, metric = request.match_info["namespace"], request.match_info["metric"]
        if metric != METRIC:
            raise Refused(404, f"no metric '{metric[:MOST_NAMED]}', expected {METRIC}")
        wanted = selector(request.query.get("labelSelector", ""))
        items = self._items(namespace, wanted)
        if not items:
            raise Refused(404, self._why_nothing(namespace, wanted))
        listed = {"kind": "ExternalMetricValueList", "apiVersion": VERSION, "metadata": {}}
        return web.json_response({**listed, "items": items})

    def _items(self, namespace: str, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
        items = []
        for release, total in self.totals.items():
            chosen = release.namespace == namespace and wanted.get("release", release.name) == release.name
            reading = total.read(monotonic()) if chosen else None
            if reading is None:
                continue
            at = datetime.now(UTC) - timedelta(seconds=reading.age_s)
            for pool, pods in sorted(reading.pools.items()):
                labels = {"release": release.name, "pool": pool}
                if wanted.items() <= labels.items():
                    items.append(
                        {
                            "metricName": METRIC,
                            "metricLabels": labels,
                            "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                            "windowSeconds": round(reading.window_s),
                            "value": f"{round(pods * 1000)}m",
                        }
                    )
        return items

    def _why_nothing(self, namespace: str, wanted: Mapping[str, str]) -> str:
        release = Release(namespace, wanted.get("release", ""))
        if release not in self.totals:
            known = listed(sorted(r.name for r in self.totals if r.namespace == namespace))
            return (
                f"no gateway of release '{release.name[:MOST_NAMED]}' is known in namespace "
                f"'{namespace[:MOST_NAMED]}', the releases there are: {known}"
            )
        reading = self.totals[release].read(monotonic())
        if reading is None:
            return f"the gateways of release '{release.name}' have not all answered for too long, or not yet"
        known = listed(sorted(reading.pools))
        asked = ",".join(f"{name}={value}" for name, value in wanted.items())
        return f"nothing has the labels {asked[:MOST_NAMED]}, the pools of the release are: {known}"

    @web.middleware
    async def _border(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Admit or refuse the caller, and answer errors in the format of Kubernetes' API."""
        try:
            self._admit(request)
            answer: web.StreamResponse = await handler(request)
        except Refused as refused:
            answer = status_object(refused.status, str(refused))
        except web.HTTPException as error:
            answer = status_object(
                error.status, f"{request.method} {request.path[:MOST_NAMED]}: {error.reason}"
            )
        except Exception:
            logger.exception("call failed", extra={"path": request.path[:MOST_NAMED]})
            answer = status_object(500, "the scaler failed, its log says why")
        self.count(answer.status)
        return answer

    def _admit(self, request: web.Request) -> None:
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport is not None else None
        if not certificate:
            raise Refused(401, "expected the client certificate of Kubernetes' API server, got none")
        if not self.callers.admits(certificate):
            raise Refused(403, "the client certificate is not the one of Kubernetes' API server")


def selector(text: str) -> dict[str, str]:
    """The labels of a selector such as "release=a,pool=b".

    Raises:
        Refused: 400 if the selector is anything other than name=value pairs.
    """
    labels = {}
    for part in text.split(",") if text else ():
        name, equals, value = part.replace("==", "=").partition("=")
        if not equals or not name.strip() or name.strip().endswith("!"):
            shown = text[:MOST_NAMED]
            raise Refused(400, f"labelSelector is '{shown}', expected name=value, several with commas")
        labels[name.strip()] = value.strip()
    return labels


def status_object(status: int, message: str) -> web.Response:
    """An error in the shape of Kubernetes' API."""
    reason = REASONS.get(status, "InternalError" if status >= 500 else "BadRequest")
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return web.json_response({**body, "message": message, "reason": reason, "code": status}, status=status)
