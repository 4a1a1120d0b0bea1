"""The pages of jobs: how they stand, their results, and what may be done with them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from inferencehub.core.auth.caller import Caller
from inferencehub.core.values.errors import HubError, Kind, bad_input, listed
from inferencehub.gateway.http_api.jobs.answers import pages_of
from inferencehub.gateway.http_api.jobs.deferral import LONGEST_WAIT_S, owner_of
from inferencehub.gateway.http_api.jobs.job_json import job_fields
from inferencehub.gateway.http_api.jobs.timing import timed
from inferencehub.gateway.http_api.page import caller_of, header_list, json
from inferencehub.gateway.jobs.record import JobRecord, State
from inferencehub.gateway.jobs.store import gone, no_job
from inferencehub.gateway.jobs.submit import Jobs

JOBS = "/v2/jobs"
MOST_LISTED, LISTED = 1000, 100


class JobPages:
    """The endpoints. Each caller sees the jobs of their own tenant, or their own without one.

    Args:
        jobs: the jobs.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    def routes(self) -> list[BaseRoute]:
        """The Starlette routes."""
        one = f"{JOBS}/{{id}}"
        return [
            Route(JOBS, self.all),
            Route(one, self.job, methods=["GET", "DELETE"]),
            Route(f"{one}/result", self.result),
            Route(f"{one}/cancel", self.cancel, methods=["POST"]),
            Route(f"{one}/retry", self.retry, methods=["POST"]),
        ]

    async def job(self, request: Request) -> Response:
        """GET /v2/jobs/{id}: how a job stands. DELETE: nothing is left of it; if it runs, it is stopped.

        Raises:
            HubError: NOT_FOUND.
        """
        record = await self._seen(request)
        if request.method != "DELETE":
            return json(job_fields(record))
        await self.jobs.delete(*asked(request))
        return json({"id": record.id, "deleted": True})

    async def _seen(self, request: Request) -> JobRecord:
        """The job that a path names, if it is the caller's, and of a model that they may use.

        Raises:
            HubError: NOT_FOUND.
        """
        record = await self.jobs.store.job(*asked(request))
        if not visible(caller_of(request), record):
            raise no_job(record.id)
        return record

    async def all(self, request: Request) -> Response:
        """GET /v2/jobs?state=&model=&limit=&cursor=: jobs, the newest first; `cursor` of an answer gives those after it.

        Raises:
            HubError: BAD_INPUT for a state or a limit that is none.
        """
        query = request.query_params
        state = query.get("state", "")
        if state and state not in list(State):
            raise bad_input(f"state: expected one of {listed(State)}, got '{state[:40]}'")
        most = whole(query.get("limit", str(LISTED)), "limit", MOST_LISTED)
        found = await self.jobs.store.listed(
            owner_of(caller_of(request)), state, query.get("model", ""), most, query.get("cursor", "")
        )
        cursor = found[-1].id if len(found) == most else None
        shown = [job_fields(one) for one in found if visible(caller_of(request), one)]
        return json({"jobs": shown, "cursor": cursor})

    async def result(self, request: Request) -> Response:
        """GET /v2/jobs/{id}/result?wait=: the answer that a call would have had, or 202 as long as there is none.

        Raises:
            HubError: NOT_FOUND, GONE, or BAD_INPUT for a time that is none.
        """
        wait_s = whole(request.query_params.get("wait", "0"), "wait", int(LONGEST_WAIT_S), least=0)
        await self._seen(request)
        record = await self.jobs.wait(*asked(request), wait_s)
        if not record.state.ended:
            answer = json(job_fields(record))
            answer.status_code = 202
            answer.headers["retry-after"] = "1"
            return answer
        if record.items is not None:
            return await self._answers(*asked(request))
        if not record.status:
            raise gone(record)
        status, lines, body = await self.jobs.store.result(*asked(request))
        answer = Response(body, status)
        answer.raw_headers = [(name, value) for name, value in header_list(timed(lines, record))]
        return answer

    async def _answers(self, owner: str, id: str) -> Response:
        """A line of JSON for each item of a batch, in their order."""
        batches = self.jobs.store.batches
        first = await batches.answers(owner, id, "")
        return StreamingResponse(pages_of(batches, owner, id, first), media_type="application/jsonl")

    async def cancel(self, request: Request) -> Response:
        """POST /v2/jobs/{id}/cancel: it does not run, or not on; one that has ended stays as it is.

        Raises:
            HubError: NOT_FOUND.
        """
        await self._seen(request)
        return json(job_fields(await self.jobs.cancel(*asked(request))))

    async def retry(self, request: Request) -> Response:
        """POST /v2/jobs/{id}/retry: one that failed, expired or was cancelled waits again.

        Raises:
            HubError: NOT_FOUND or CONFLICT.
        """
        await self._seen(request)
        return json(job_fields(await self.jobs.retry(*asked(request))))


def visible(caller: Caller, record: JobRecord) -> bool:
    """Whether a caller may use the model of a job, or all those of a batch."""
    models = (record.model,) if record.items is None else record.items.models
    return all(map(caller.sees, models))


def absent() -> list[BaseRoute]:
    """The routes of jobs where there are none."""
    methods = ["GET", "POST", "DELETE"]
    return [Route(path, no_jobs, methods=methods) for path in (JOBS, f"{JOBS}/{{path:path}}")]


async def no_jobs(request: Request) -> Response:
    """Any page of jobs, where there are none.

    Raises:
        HubError: UNSUPPORTED.
    """
    raise HubError(Kind.UNSUPPORTED, "there are no jobs: HUB_JOBS says where they are kept")


def asked(request: Request) -> tuple[str, str]:
    """Whose job, and which, a path names."""
    return owner_of(caller_of(request)), request.path_params["id"]


def whole(text: str, name: str, most: int, least: int = 1) -> int:
    """A number in a query.

    Raises:
        HubError: BAD_INPUT if it is none in this range.
    """
    if not text.isdecimal() or len(text) > 9 or not least <= int(text) <= most:
        raise bad_input(f"{name}: expected a whole number from {least} to {most}, got '{text[:40]}'")
    return int(text)
