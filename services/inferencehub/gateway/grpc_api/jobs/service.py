"""The service `inference.Jobs`: how jobs stand, their results, and what may be done with them."""

from __future__ import annotations

from google.protobuf.message import Message

from inferencehub.core.values.errors import HubError, Kind, bad_input
from inferencehub.gateway.calls.exchange import Exchange
from inferencehub.gateway.grpc_api.edge import Work
from inferencehub.gateway.grpc_api.jobs.answers import job_message, patience, result_message
from inferencehub.gateway.jobs.fronts.asking import LISTED, MOST_LISTED, Asking, no_jobs
from inferencehub.gateway.jobs.fronts.headers import LONGEST_WAIT_S
from inferencehub.gateway.jobs.submit import Jobs
from inferencehub.pb import jobs_pb2 as pb

SERVICE = "inference.Jobs"


class JobMethods:
    """The methods.

    Args:
        jobs: the jobs; None where there are none.
    """

    def __init__(self, jobs: Jobs | None) -> None:
        self.jobs = jobs

    def methods(self) -> dict[str, tuple[Work, type[Message] | None]]:
        """The methods by their names, each with its request message."""
        return {
            "GetJob": (self.job, pb.GetJobRequest),
            "GetJobResult": (self.result, pb.GetJobResultRequest),
            "ListJobs": (self.listed, pb.ListJobsRequest),
            "CancelJob": (self.cancel, pb.CancelJobRequest),
            "RetryJob": (self.retry, pb.RetryJobRequest),
            "DeleteJob": (self.delete, pb.DeleteJobRequest),
        }

    def _asking(self, exchange: Exchange) -> Asking:
        """Who asks.

        Raises:
            HubError: UNSUPPORTED where there are no jobs.
        """
        if self.jobs is None:
            raise no_jobs()
        return Asking(self.jobs, exchange.caller)

    async def job(self, exchange: Exchange, request: pb.GetJobRequest) -> pb.Job:
        """GetJob: how a job stands.

        Raises:
            HubError: NOT_FOUND.
        """
        return job_message(await self._asking(exchange).job(request.id))

    async def result(
        self, exchange: Exchange, request: pb.GetJobResultRequest
    ) -> pb.GetJobResultResponse | bytes:
        """GetJobResult: the answer that the call would have had, if there is one within the time.

        Raises:
            HubError: NOT_FOUND, GONE, UNSUPPORTED for a batch, or BAD_INPUT for a time that is none.
        """
        asking = self._asking(exchange)
        wait_s = within(request.wait_s, "wait_s", 0, LONGEST_WAIT_S)
        record = await asking.wait(request.id, patience(exchange, wait_s))
        if not record.state.ended:
            return pb.GetJobResultResponse(job=job_message(record))
        if record.items is not None:
            raise HubError(
                Kind.UNSUPPORTED, f"the answers of a batch come over HTTP: GET /v2/jobs/{record.id}/result"
            )
        return result_message(record, await asking.result(record))

    async def listed(self, exchange: Exchange, request: pb.ListJobsRequest) -> pb.ListJobsResponse:
        """ListJobs: jobs, the newest first.

        Raises:
            HubError: BAD_INPUT for a state or a limit that is none.
        """
        asking = self._asking(exchange)
        most = within(request.limit, "limit", 1, MOST_LISTED) if request.limit else LISTED
        found, cursor = await asking.listed(request.state, request.model, most, request.cursor)
        return pb.ListJobsResponse(jobs=[job_message(one) for one in found], cursor=cursor)

    async def cancel(self, exchange: Exchange, request: pb.CancelJobRequest) -> pb.Job:
        """CancelJob: it does not run, or not on; one that has ended stays as it is.

        Raises:
            HubError: NOT_FOUND.
        """
        return job_message(await self._asking(exchange).cancel(request.id))

    async def retry(self, exchange: Exchange, request: pb.RetryJobRequest) -> pb.Job:
        """RetryJob: one that failed, expired or was cancelled waits again.

        Raises:
            HubError: NOT_FOUND or CONFLICT.
        """
        return job_message(await self._asking(exchange).retry(request.id))

    async def delete(self, exchange: Exchange, request: pb.DeleteJobRequest) -> pb.DeleteJobResponse:
        """DeleteJob: nothing is left of it; if it runs, it is stopped.

        Raises:
            HubError: NOT_FOUND.
        """
        await self._asking(exchange).delete(request.id)
        return pb.DeleteJobResponse()


def within(number: int, name: str, least: int, most: int) -> int:
    """A number of a request.

    Raises:
        HubError: BAD_INPUT if it is not in this range.
    """
    if not least <= number <= most:
        raise bad_input(f"{name}: expected a whole number from {least} to {most}, got {number}")
    return number
