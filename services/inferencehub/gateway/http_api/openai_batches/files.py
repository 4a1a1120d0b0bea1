"""OpenAI's files: the input of batches as it was sent, and the output of those that have ended.

Specification: OpenAI's Files API. Files have one purpose here, which is `batch`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import time

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.values.errors import HubError, Kind, shown
from inferencehub.gateway.http_api.jobs.pages import whole
from inferencehub.gateway.http_api.openai_batches.asked import seconds_of
from inferencehub.gateway.http_api.openai_batches.form import Form, read_form
from inferencehub.gateway.http_api.openai_batches.objects import file_fields, page_fields
from inferencehub.gateway.http_api.openai_batches.outputs import output_of
from inferencehub.gateway.http_api.page import caller_of, json
from inferencehub.gateway.jobs.files import StoredFile
from inferencehub.gateway.jobs.fronts.asking import Asking, owner_of
from inferencehub.gateway.jobs.submit import Jobs, new_id
from inferencehub.gateway.json_codec.openai.errors import WrongField

FILES = "/v1/files"
MOST_LISTED = 10_000
JSONL = "application/jsonl"
EXPIRES = "expires_after"


class FilePages:
    """The endpoints.

    Args:
        jobs: the jobs, whose store has the files.
        budget: the process's budget of bytes.
        threads: read uploads.
    """

    def __init__(self, jobs: Jobs, budget: ByteBudget, threads: ThreadPoolExecutor) -> None:
        self._jobs = jobs
        self._budget = budget
        self._threads = threads

    def routes(self) -> list[BaseRoute]:
        """The Starlette routes."""
        one = f"{FILES}/{{id}}"
        return [
            Route(FILES, self.all, methods=["GET", "POST"]),
            Route(one, self.one, methods=["GET", "DELETE"]),
            Route(f"{one}/content", self.content),
        ]

    async def all(self, request: Request) -> Response:
        """GET /v1/files?purpose=&after=&limit=&order=: files that were sent. POST: keep one, as long as jobs are kept.

        Raises:
            HubError: BAD_INPUT for a query or a form that is not as expected, BUSY if there is no room for it.
        """
        owner, now = owner_of(caller_of(request)), time()
        if request.method == "POST":
            return json(file_fields(await self._keep(owner, request, now)))
        query = request.query_params
        most = whole(query.get("limit", str(MOST_LISTED)), "limit", MOST_LISTED)
        order, after = query.get("order", "desc"), query.get("after", "")
        if order not in ("asc", "desc"):
            raise WrongField("order", f"'order': expected 'asc' or 'desc', got {shown(order)}")
        found = await self._jobs.store.files.listed(owner, now)
        if order == "asc":
            found.reverse()
        if after:
            found = [file for file in found if (file.id > after if order == "asc" else file.id < after)]
        if query.get("purpose", "batch") != "batch":
            found = []
        return json(page_fields([file_fields(file) for file in found[:most]], len(found) > most))

    async def _keep(self, owner: str, request: Request, now: float) -> StoredFile:
        body = await request.body()
        kind = request.headers.get("content-type", "")
        self._budget.take(len(body))  # the file is a copy of it
        try:
            loop = asyncio.get_running_loop()
            form = await loop.run_in_executor(self._threads, read_form, body, kind)
            keep_s = self._keep_s(form)
            file = StoredFile(f"file-{new_id()}", form.name, len(form.data), now, now + keep_s)
            await self._jobs.store.files.add(owner, file, form.data)
        finally:
            self._budget.give(len(body))
        return file

    def _keep_s(self, form: Form) -> float:
        """Seconds that a file is kept.

        Raises:
            WrongField: if what is said of it is not as expected.
        """
        purpose = form.fields.get("purpose")
        if purpose != "batch":
            raise WrongField("purpose", f"'purpose': expected 'batch', got {shown(purpose)}")
        seconds = form.fields.get(f"{EXPIRES}[seconds]")
        if seconds is None:
            return self._jobs.keep_s
        number = int(seconds) if seconds.isdecimal() and len(seconds) < 9 else seconds
        return seconds_of(form.fields.get(f"{EXPIRES}[anchor]"), number, EXPIRES)

    async def one(self, request: Request) -> Response:
        """GET /v1/files/{id}: what is known of a file. DELETE: forget it.

        Raises:
            HubError: NOT_FOUND; CONFLICT for one that is a part of a result.
        """
        asking, owner, id = self._asked(request)
        files, output = self._jobs.store.files, await output_of(asking, id)
        if request.method != "DELETE":
            if output is None:
                return json(file_fields(await files.file(owner, id, time())))
            known = await output.known(self._jobs.store.batches, owner)
            return json(file_fields(known, "batch_output"))
        if output is not None:
            batch = output.record.id
            text = f"file {id} is a part of the result of batch {batch}, expected DELETE /v2/jobs/{batch} for both"
            raise HubError(Kind.CONFLICT, text)
        await files.delete(owner, id, time())
        return json({"id": id, "object": "file", "deleted": True})

    async def content(self, request: Request) -> Response:
        """GET /v1/files/{id}/content: what a file has.

        Raises:
            HubError: NOT_FOUND, GONE for the result of a batch whose time is over, BUSY if too many bytes are held.
        """
        asking, owner, id = self._asked(request)
        output = await output_of(asking, id)
        if output is None:
            files = self._jobs.store.files
            file = await files.file(owner, id, time())
            self._budget.take(file.size)
            try:
                return Response(await files.data(owner, id, time()), media_type=JSONL)
            finally:
                self._budget.give(file.size)
        lines = await output.lines(self._jobs.store.batches, owner)
        return StreamingResponse(lines, media_type=JSONL)

    def _asked(self, request: Request) -> tuple[Asking, str, str]:
        """Who asks, whose files, and for which one."""
        caller = caller_of(request)
        return Asking(self._jobs, caller), owner_of(caller), request.path_params["id"]
