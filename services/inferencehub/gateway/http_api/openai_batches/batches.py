"""OpenAI's batches: each is a batch of `http_api/batches`, under the same id.

Specification: OpenAI's Batch API. A file is checked before the answer, so a batch is known once its items may run.
"""

from __future__ import annotations

from functools import partial
from time import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.values.errors import HubError, Kind
from inferencehub.gateway.http_api.batches.pages import said_of
from inferencehub.gateway.http_api.batches.upload import Uploads
from inferencehub.gateway.http_api.jobs.pages import whole
from inferencehub.gateway.http_api.openai_batches.about import about_of, no_batch
from inferencehub.gateway.http_api.openai_batches.asked import WINDOW_S, read_asked
from inferencehub.gateway.http_api.openai_batches.lines import read_lines
from inferencehub.gateway.http_api.openai_batches.objects import batch_fields, page_fields
from inferencehub.gateway.http_api.page import caller_of, json
from inferencehub.gateway.jobs.batch import is_batch
from inferencehub.gateway.jobs.files import StoredFile
from inferencehub.gateway.jobs.fronts.asking import Asking, owner_of
from inferencehub.gateway.jobs.record import JobRecord, State
from inferencehub.gateway.jobs.submit import Jobs
from inferencehub.gateway.json_codec.openai.errors import WrongField

BATCHES = "/v1/batches"
MOST_LISTED, LISTED = 100, 20


class OpenAIBatchPages:
    """The endpoints.

    Args:
        jobs: the jobs.
        uploads: makes batches.
        budget: the process's budget of bytes.
        longest_ms: that an item may say it runs at most.
    """

    def __init__(self, jobs: Jobs, uploads: Uploads, budget: ByteBudget, longest_ms: int) -> None:
        self._jobs = jobs
        self._uploads = uploads
        self._budget = budget
        self._longest_ms = longest_ms

    def routes(self) -> list[BaseRoute]:
        """The Starlette routes."""
        return [
            Route(BATCHES, self.all, methods=["GET", "POST"]),
            Route(f"{BATCHES}/{{id}}", self.one),
            Route(f"{BATCHES}/{{id}}/cancel", self.cancel, methods=["POST"]),
        ]

    async def all(self, request: Request) -> Response:
        """GET /v1/batches?after=&limit=: batches, the newest first. POST: make one of a file.

        Raises:
            HubError: BAD_INPUT for a query or a body that is not as expected; else as `Uploads.make`.
        """
        if request.method == "POST":
            answer = json(described(await self._make(request)))
            answer.headers["hub-durability"] = self._jobs.store.durability
            return answer
        query = request.query_params
        most = whole(query.get("limit", str(LISTED)), "limit", MOST_LISTED)
        found, more = await self._asking(request).batches(most, query.get("after", ""))
        return json(page_fields([described(one) for one in found], more))

    async def _make(self, request: Request) -> JobRecord:
        said, fields = said_of(request, self._longest_ms)
        about, keep_s = read_asked(await request.body(), said.keep_s)
        owner = owner_of(caller_of(request))
        file = await self._file(owner, about.input_file_id)
        if keep_s is None:
            keep_s = max(WINDOW_S, self._jobs.keep_s) if said.keep_s is None else said.keep_s
        self._budget.take(file.size)
        try:
            return await self._uploads.make(
                request.state.exchange,
                await self._jobs.store.files.data(owner, file.id, time()),
                said._replace(keep_s=keep_s),
                fields,
                partial(read_lines, about=about),
                about.wait_s,
            )
        finally:
            self._budget.give(file.size)

    async def _file(self, owner: str, id: str) -> StoredFile:
        """The file that a batch is made of.

        Raises:
            WrongField: if there is none.
        """
        try:
            return await self._jobs.store.files.file(owner, id, time())
        except HubError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise
            raise WrongField("input_file_id", f"'input_file_id': {error.detail}") from None

    async def one(self, request: Request) -> Response:
        """GET /v1/batches/{id}: how a batch stands.

        Raises:
            HubError: NOT_FOUND.
        """
        return json(described(await self._record(request)))

    async def cancel(self, request: Request) -> Response:
        """POST /v1/batches/{id}/cancel: what waits does not run, and what runs is stopped.

        Raises:
            HubError: NOT_FOUND, or CONFLICT if it has ended otherwise.
        """
        record = await self._record(request)
        if record.state.ended and record.state is not State.CANCELLED:
            raise HubError(Kind.CONFLICT, f"batch {record.id} has ended, expected one that has not")
        return json(described(await self._asking(request).cancel(record.id)))

    async def _record(self, request: Request) -> JobRecord:
        id = request.path_params["id"]
        if not is_batch(id):
            raise no_batch(id)
        record = await self._asking(request).job(id)
        about_of(record)  # one that came another way is none here
        return record

    def _asking(self, request: Request) -> Asking:
        return Asking(self._jobs, caller_of(request))


def described(record: JobRecord) -> dict[str, Any]:
    """A batch as OpenAI's object.

    Raises:
        HubError: NOT_FOUND for one that came another way.
    """
    about = about_of(record)
    assert record.items is not None
    return batch_fields(record, record.items, about)
