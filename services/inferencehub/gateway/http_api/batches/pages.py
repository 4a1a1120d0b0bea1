"""The page that makes a batch of a file. All others of a batch are those of jobs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.batches.checks import Checks
from inferencehub.gateway.http_api.batches.upload import Uploads
from inferencehub.gateway.http_api.jobs.front import JobFront
from inferencehub.gateway.http_api.jobs.job_json import job_fields
from inferencehub.gateway.http_api.jobs.pages import JOBS
from inferencehub.gateway.http_api.page import json
from inferencehub.gateway.http_api.routes import endpoints
from inferencehub.gateway.jobs.batch import MOST_ITEMS
from inferencehub.gateway.jobs.fronts.headers import JobHeaders, job_headers, number
from inferencehub.gateway.jobs.submit import Jobs
from inferencehub.gateway.metrics import FrontMetrics
from inferencehub.gateway.settings.gateway import GatewaySettings

LIMIT = b"x-request-timeout-ms"


class BatchPages:
    """The endpoint.

    Args:
        jobs: the jobs.
        uploads: makes batches.
        longest_ms: that an item may say it runs at most.
    """

    def __init__(self, jobs: Jobs, uploads: Uploads, longest_ms: int) -> None:
        self._jobs = jobs
        self._uploads = uploads
        self._longest_ms = longest_ms

    def routes(self) -> list[BaseRoute]:
        """The Starlette routes."""
        return [Route(JOBS, self.make, methods=["POST"])]

    async def make(self, request: Request) -> Response:
        """POST /v2/jobs: a file of items becomes a batch. The content type is not looked at.

        Raises:
            HubError: as `Uploads.make`; BAD_INPUT for a header that is not as expected.
        """
        exchange: Exchange = request.state.exchange
        said, fields = said_of(request, self._longest_ms)
        record = await self._uploads.make(exchange, await request.body(), said, fields)
        answer = json(job_fields(record))
        answer.status_code = 200 if record.state.ended else 202
        answer.headers["location"] = f"{JOBS}/{record.id}"
        answer.headers["retry-after"] = "1"
        answer.headers["hub-durability"] = self._jobs.store.durability
        return answer


def said_of(request: Request, longest_ms: int) -> tuple[JobHeaders, dict[bytes, bytes]]:
    """What the headers of a call say of its batch, and those of them that hold for each item.

    Args:
        request: the call; its exchange gets the time limit of an item.
        longest_ms: that an item may run at most.

    Raises:
        HubError: BAD_INPUT for a header that is not as expected.
    """
    exchange: Exchange = request.state.exchange
    head = dict(request.headers.raw)
    said = job_headers(head)
    limit_ms = number(head, LIMIT, 1, longest_ms)
    exchange.limit_s = None if limit_ms is None else limit_ms / 1000
    return said, {LIMIT: head[LIMIT]} if LIMIT in head else {}


def uploads_of(front: JobFront, calls: Calls, settings: GatewaySettings, metrics: FrontMetrics) -> Uploads:
    """What makes batches of files.

    Args:
        front: the jobs of the gateway.
        calls: those of its other fronts. Items pass the same stages, but for limits, which count a batch as one call.
        settings: how large a batch may be.
        metrics: those of jobs.
    """
    jobs, held = front.jobs, calls.table.bytes_held
    others = [stage for stage in calls.stages if stage is not front.limits]
    checked = Calls(calls.table, calls.unknown, calls.settings, others)
    checks = Checks(endpoints(checked), calls, metrics, held, front.threads)
    most = min(MOST_ITEMS, settings.jobs_queue_length)
    return Uploads(jobs, checks, front.limits, held, front.threads, most)
