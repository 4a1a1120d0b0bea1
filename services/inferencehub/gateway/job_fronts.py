"""The jobs of a gateway, and all fronts that bring some, put together. Only a gateway that has jobs imports it."""

from __future__ import annotations

from inferencehub.core.process.logs import AccessLog
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.grpc_api.jobs.request import MARK
from inferencehub.gateway.grpc_api.jobs.runs import JobRuns
from inferencehub.gateway.http_api.batches.pages import with_batches
from inferencehub.gateway.http_api.jobs.front import JobFront
from inferencehub.gateway.metrics import Metrics
from inferencehub.gateway.routing.demand import Demand
from inferencehub.gateway.settings import GatewaySettings


def jobs_of(
    settings: GatewaySettings, calls: Calls, demand: Demand, metrics: Metrics, access: AccessLog | None
) -> JobFront:
    """The jobs of a gateway; see `JobFront`."""
    front = JobFront(settings, calls, demand, metrics, access)
    front.fronts.add(MARK, JobRuns(front.calls, metrics.jobs, access, settings.max_body_bytes))
    return with_batches(front, calls, settings, metrics.jobs)
