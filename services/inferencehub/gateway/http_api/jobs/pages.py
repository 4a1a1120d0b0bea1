"""The pages of jobs: how they stand, their results, and what may be done with them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from inferencehub.core.values.errors import bad_input
from inferencehub.gateway.http_api.jobs.answers import pages_of
from inferencehub.gateway.http_api.jobs.job_json import job_fields
from inferencehub.gateway.http_api.jobs.timing import timed
from inferencehub.gateway.http_api.page import caller_of, header_list, json
from inferencehub.gateway.jobs.fronts.asking import LISTED, MOST_LISTED, Asking, no_jobs, owner_of
from inferencehub.gateway.jobs.fronts.headers import LONGEST_WAIT_S
from inferencehub.gateway.jobs.submit import Jobs

JOBS = "/v2/jobs"


class JobPages:
    """The endpoints.

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
        asking, id = self._asked(request)
        if request.method != "DELETE":
            return json(job_fields(await asking.job(id)))
        return json({"id": (await asking.delete(id)).id, "deleted": True})

    def _asked(self, request: Request) -> tuple[Asking, str]:
        """Who asks, and for which job."""
        return Asking(self.jobs, caller_of(request)), request.path_params["id"]

    async def all(self, request: Request) -> Response:
        """GET /v2/jobs?state=&model=&limit=&cursor=: jobs, the newest first; `cursor` of an answer gives those after it.

        Raises:
            HubError: BAD_INPUT for a state or a limit that is none.
        """
        query = request.query_params
        most = whole(query.get("limit", str(LISTED)), "limit", MOST_LISTED)
        found, cursor = await Asking(self.jobs, caller_of(request)).listed(
            query.get("state", ""), query.get("model", ""), most, query.get("cursor", "")
        )
        return json({"jobs": [job_fields(one) for one in found], "cursor": cursor})

    async def result(self, request: Request) -> Response:
        """GET /v2/jobs/{id}/result?wait=: the answer that a call would have had, or 202 as long as there is none.

        Raises:
            HubError: NOT_FOUND, GONE, or BAD_INPUT for a time that is none.
        """
        wait_s = whole(request.query_params.get("wait", "0"), "wait", LONGEST_WAIT_S, least=0)
        asking, id = self._asked(request)
        record = await asking.wait(id, wait_s)
        if not record.state.ended:
            answer = json(job_fields(record))
            answer.status_code = 202
            answer.headers["retry-after"] = "1"
            return answer
        if record.items is not None:
            return await self._answers(owner_of(caller_of(request)), id)
        result = await asking.result(record)
        answer = Response(result.body, result.status)
        answer.raw_headers = [(name, value) for name, value in header_list(timed(result.lines, record))]
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
        asking, id = self._asked(request)
        return json(job_fields(await asking.cancel(id)))

    async def retry(self, request: Request) -> Response:
        """POST /v2/jobs/{id}/retry: one that failed, expired or was cancelled waits again.

        Raises:
            HubError: NOT_FOUND or CONFLICT.
        """
        asking, id = self._asked(request)
        return json(job_fields(await asking.retry(id)))


def absent() -> list[BaseRoute]:
    """The routes of jobs where there are none."""
    methods = ["GET", "POST", "DELETE"]
    paths = (JOBS, "/v1/files", "/v1/batches")
    return [Route(path, none, methods=methods) for one in paths for path in (one, f"{one}/{{path:path}}")]


async def none(request: Request) -> Response:
    """Any page of jobs, where there are none.

    Raises:
        HubError: UNSUPPORTED.
    """
    raise no_jobs()


def whole(text: str, name: str, most: int, least: int = 1) -> int:
    """A number in a query.

    Raises:
        HubError: BAD_INPUT if it is none in this range.
    """
    if not text.isdecimal() or len(text) > 9 or not least <= int(text) <= most:
        raise bad_input(f"{name}: expected a whole number from {least} to {most}, got '{text[:40]}'")
    return int(text)
