"""Calls that become jobs: `Prefer: respond-async`.

Such a call goes the way of every other one, through its endpoint, all stages and the checks of its model, as far as the
lane. There it is kept in place of being run. So what would be refused at once is refused at once.
"""

from __future__ import annotations

from functools import partial

import msgspec

from inferencehub.core.http1.handler import Head
from inferencehub.core.lane.byte_budget import ByteBudget
from inferencehub.core.values.errors import HubError
from inferencehub.core.values.requests import InferResponse
from inferencehub.gateway.http_api.call import LARGE_JSON, Endpoint, HttpCall
from inferencehub.gateway.http_api.jobs.job_json import job_json
from inferencehub.gateway.http_api.jobs.request import Kept, kept_of, preference_of
from inferencehub.gateway.http_api.jobs.timing import timed
from inferencehub.gateway.http_api.response import JSON, NO_SNIFFING, Content
from inferencehub.gateway.jobs.fronts.headers import LONGEST_WAIT_S, JobHeaders, job_headers
from inferencehub.gateway.jobs.fronts.keeping import Admitted, keep
from inferencehub.gateway.jobs.record import JobRecord
from inferencehub.gateway.jobs.store import gone
from inferencehub.gateway.jobs.submit import Jobs
from inferencehub.gateway.jobs.webhooks.targets import Target


class Deferral:
    """Makes jobs of calls.

    Args:
        jobs: where they go.
        bytes_held: the process's budget; it has the requests until they are kept.
    """

    def __init__(self, jobs: Jobs, bytes_held: ByteBudget) -> None:
        self.jobs = jobs
        self.bytes_held = bytes_held

    def of(self, endpoint: Endpoint, head: Head) -> Endpoint:
        """The endpoint that answers a call with a header Prefer.

        Raises:
            HubError: BAD_INPUT if the call is to be a job, and a header of it is not as expected.
        """
        preference = preference_of(head)
        if not preference.later:
            return endpoint
        wait_s = min(preference.wait_s, LONGEST_WAIT_S)
        said = job_headers(head.fields)
        target = self.jobs.targets.of(said.webhook) if said.webhook else None
        return Deferred(self, endpoint, said, target, wait_s)


class Deferred:
    """The endpoint of one call that becomes a job.

    Args:
        deferral: makes the job.
        endpoint: what reads the call's body, and answers errors.
        said: what the caller says of the job.
        target: where its end is told; None for nowhere.
        wait_s: seconds that the caller waits for its end.
    """

    method = "POST"

    def __init__(
        self, deferral: Deferral, endpoint: Endpoint, said: JobHeaders, target: Target | None, wait_s: float
    ) -> None:
        self._deferral = deferral
        self._endpoint = endpoint
        self._said = said
        self._target = target
        self._wait_s = wait_s

    def begin(self, call: HttpCall) -> None:
        """See `Endpoint`."""
        exchange = call.exchange
        fields = kept_of(call.head, exchange.forwarded)
        kept = Kept(call.head.target, fields, bytes(call.body), exchange.id, exchange.kept_trace)
        exchange.deferred = partial(self._keep, call, kept)
        self._endpoint.begin(call)

    def content(self, call: HttpCall, response: InferResponse) -> Content:
        """See `Endpoint`."""
        return self._endpoint.content(call, response)

    def error(self, error: HubError) -> bytes:
        """See `Endpoint`."""
        return self._endpoint.error(error)

    def _keep(self, call: HttpCall, kept: Kept, version: str, rows: int) -> None:
        """The call has been admitted: make it a job."""
        call.exchange.deferred = None  # it has the request
        kept = msgspec.structs.replace(kept, sticky=call.exchange.sticky)
        call.run(self._submit(call, kept, Admitted(version, rows, self._target)))

    async def _submit(self, call: HttpCall, kept: Kept, admitted: Admitted) -> None:
        deferral, size = self._deferral, len(kept.body)
        keeping = keep(
            deferral.jobs,
            deferral.bytes_held,
            call.exchange,
            self._said,
            admitted,
            size,
            partial(self._packed, call, kept),
        )
        del kept
        await self._answer(call, *await keeping)

    async def _packed(self, call: HttpCall, kept: Kept) -> tuple[bytes, str]:
        """The request as it is kept, and its digest; a thread makes those of a large one."""
        return await call.beside(kept.packed) if len(kept.body) > LARGE_JSON else kept.packed()

    async def _answer(self, call: HttpCall, owner: str, record: JobRecord) -> None:
        """Answer with the job, or with its result if it comes within the time that the caller waits."""
        jobs = self._deferral.jobs
        if self._wait_s:
            record = await jobs.wait(owner, record.id, self._wait_s)
        if record.status:
            status, lines, body = await jobs.store.result(owner, record.id)
            call.send(status, timed(lines, record) + location(record) + NO_SNIFFING, (body,))
        elif record.state.ended:
            raise gone(record)
        else:
            call.send(202, JSON + location(record) + accepted(jobs), (job_json(record),))


def location(record: JobRecord) -> bytes:
    """Header lines that name a job."""
    return b"location: /v2/jobs/%b\r\n" % record.id.encode()


def accepted(jobs: Jobs) -> bytes:
    """Header lines of an answer that comes before the job's end."""
    durability = jobs.store.durability.encode()
    return b"preference-applied: respond-async\r\nretry-after: 1\r\nhub-durability: %b\r\n" % durability
