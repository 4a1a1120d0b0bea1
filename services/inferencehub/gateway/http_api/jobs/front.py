"""All that a gateway with jobs has, put together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from inferencehub.core.process.logs import AccessLog
from inferencehub.gateway.calls.stages import LoadShedding
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.jobs.deferral import Deferral
from inferencehub.gateway.http_api.jobs.pages import JobPages
from inferencehub.gateway.http_api.jobs.runs import JobRuns
from inferencehub.gateway.http_api.routes import endpoints
from inferencehub.gateway.jobs.collector import JobsCollector
from inferencehub.gateway.jobs.fronts.runs import Fronts
from inferencehub.gateway.jobs.store import Store
from inferencehub.gateway.jobs.submit import Jobs
from inferencehub.gateway.jobs.worker import Worker
from inferencehub.gateway.metrics import Metrics
from inferencehub.gateway.settings import GatewaySettings


class JobFront:
    """The jobs of a gateway, from their store to their pages.

    Args:
        settings: where jobs are kept.
        calls: the calls of other fronts: jobs enter the same lanes, and have been asked who they are before.
        metrics: where attempts are counted.
        access: where their lines go.

    Other fronts use `jobs`, make their attempts in `calls`, and say so in `fronts`.
    """

    def __init__(
        self, settings: GatewaySettings, calls: Calls, metrics: Metrics, access: AccessLog | None
    ) -> None:
        held = calls.table.bytes_held
        patient = replace(settings, default_timeout_ms=settings.max_timeout_ms)
        self.calls = Calls(calls.table, calls.unknown, patient, [LoadShedding()])
        self._threads = ThreadPoolExecutor(thread_name_prefix="jobs-json")
        most_bytes = settings.max_body_bytes
        self.fronts = Fronts(
            JobRuns(endpoints(self.calls), metrics.jobs, access, held, self._threads, most_bytes)
        )
        store = store_of(settings)
        worker = Worker(store, calls.table, self.fronts)
        metrics.registry.register(JobsCollector(worker))
        self.jobs = Jobs(store, worker, settings.job_ttl_s)
        self.deferral = Deferral(self.jobs, held)
        self.routes = JobPages(self.jobs).routes()

    async def start(self) -> None:
        """Open the store, and run jobs.

        Raises:
            BadFile: if it can't be used.
        """
        await self.jobs.start()

    async def stop(self, grace_s: float) -> None:
        """Run no more jobs, and wait for those that run, at most `grace_s` seconds."""
        await self.jobs.stop(grace_s)

    async def close(self) -> None:
        """Close the store: nobody asks any more."""
        await self.jobs.store.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)


def store_of(settings: GatewaySettings) -> Store:
    """The store that the settings name; only its own library is loaded."""
    if settings.jobs_file:
        from inferencehub.gateway.jobs.sqlite.store import SqliteStore

        return SqliteStore(settings.jobs_file, settings.jobs_queue_length)
    from inferencehub.gateway.jobs.valkey.store import ValkeyStore

    return ValkeyStore(settings.jobs, settings.jobs_queue_length)
