"""All that a gateway with jobs has, put together."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from inferencehub.core.process.logs import AccessLog
from inferencehub.gateway.calls.call_limits import CallLimits
from inferencehub.gateway.calls.forwarded import ForwardedHeaders
from inferencehub.gateway.calls.limits.leases import Leases
from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.calls.traces.ended import CallTraces
from inferencehub.gateway.http_api.call import Endpoint
from inferencehub.gateway.http_api.jobs.deferral import Deferral
from inferencehub.gateway.http_api.jobs.events import PATH, JobEvents
from inferencehub.gateway.http_api.jobs.job_json import ended_json
from inferencehub.gateway.http_api.jobs.pages import JobPages
from inferencehub.gateway.http_api.jobs.runs import JobRuns
from inferencehub.gateway.http_api.routes import KEEP_ALIVE_S, endpoints
from inferencehub.gateway.jobs.collector import JobsCollector
from inferencehub.gateway.jobs.condition import StoreCheck
from inferencehub.gateway.jobs.fronts.runs import Fronts
from inferencehub.gateway.jobs.running.backlog import Backlog
from inferencehub.gateway.jobs.running.worker import Worker
from inferencehub.gateway.jobs.store import Store
from inferencehub.gateway.jobs.submit import Jobs
from inferencehub.gateway.jobs.webhooks.collector import WebhooksCollector
from inferencehub.gateway.jobs.webhooks.sender import Sender
from inferencehub.gateway.jobs.webhooks.signing import Secrets
from inferencehub.gateway.jobs.webhooks.targets import Targets
from inferencehub.gateway.metrics import Metrics
from inferencehub.gateway.routing.demand import Demand
from inferencehub.gateway.settings.gateway import GatewaySettings


class JobFront:
    """The jobs of a gateway, from their store to their pages.

    Args:
        settings: where jobs are kept.
        calls: the calls of other fronts: jobs enter the same lanes, and have been asked who they are before.
        limits: those of these calls, which count quotas of a day in the store; None if there are none.
        demand: is told what waits.
        metrics: where attempts are counted.
        access: where their lines go.

    Other fronts use `jobs`, make their attempts in `calls`, and say so in `fronts`.

    Raises:
        BadFile: if a file is to have the store's URL, and does not; or if that of the secrets of webhooks can't be used.
        SettingError: if what is to be a host of webhooks is none.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        calls: Calls,
        limits: CallLimits | None,
        demand: Demand,
        metrics: Metrics,
        access: AccessLog | None,
    ) -> None:
        held = calls.table.bytes_held
        patient = replace(settings, default_timeout_ms=settings.max_timeout_ms)
        headers = [stage for stage in calls.stages if isinstance(stage, ForwardedHeaders)]
        self.calls = Calls(calls.table, calls.unknown, patient, headers)  # its caller has passed the others
        self.calls.traces = calls.traces
        self.threads = ThreadPoolExecutor(thread_name_prefix="jobs-json")
        most_bytes = settings.max_body_bytes
        self.fronts = Fronts(
            JobRuns(endpoints(self.calls), metrics.jobs, access, held, self.threads, most_bytes, calls.traces)
        )
        store = store_of(settings)
        self.leases = Leases(store.quotas, settings.quotas_fail_open)
        self.limits = limits
        if limits is not None:
            limits.leases = self.leases
        metrics.registry.register(self.leases.metrics)
        backlog = Backlog(settings.jobs_drain_s)
        worker = Worker(store, calls.table, self.fronts, backlog)
        demand.backlog = lambda: backlog.slots(worker.waiting)
        metrics.registry.register(JobsCollector(worker))
        targets, outcomes = Targets(settings.webhook_hosts), Counter[str]()
        self.jobs = Jobs(store, worker, settings.job_ttl_s, targets)
        self.store_check = StoreCheck(store, lambda: worker.store_works).look
        metrics.registry.register(WebhooksCollector(outcomes))
        self.secrets = Secrets(settings.webhook_secret) if settings.webhook_hosts else None
        self.sender = (
            None
            if self.secrets is None
            else sender_of(settings, store, targets, self.secrets, outcomes, calls.traces)
        )
        self.deferral = Deferral(self.jobs, held)
        self.routes = JobPages(self.jobs).routes()

    def events(self, path: str) -> Endpoint | None:
        """The endpoint of a job's events; None for any other path."""
        found = PATH.fullmatch(path)
        return None if found is None else JobEvents(self.jobs, found[1], KEEP_ALIVE_S)

    async def start(self) -> None:
        """Open the store, and run jobs.

        Raises:
            BadFile: if it can't be used.
        """
        await self.jobs.start()
        self.leases.start()
        if self.sender is not None:
            self.sender.start()

    async def stop(self, grace_s: float) -> None:
        """Run no more jobs, deliver no more webhooks, and wait for those that run, at most `grace_s` seconds."""
        sending = [] if self.sender is None else [self.sender.stop(grace_s)]
        await asyncio.gather(self.jobs.stop(grace_s), *sending)

    async def close(self) -> None:
        """Give quotas back, and close the store: nobody asks any more."""
        await self.leases.stop()
        await self.jobs.store.stop()
        self.threads.shutdown(wait=False, cancel_futures=True)


def sender_of(
    settings: GatewaySettings,
    store: Store,
    targets: Targets,
    secrets: Secrets,
    outcomes: Counter[str],
    traces: CallTraces | None,
) -> Sender:
    """What delivers webhooks; the library that sends them is loaded only where there are some.

    Raises:
        BadFile: if the file of authorities can't be used.
    """
    from inferencehub.gateway.jobs.webhooks.post import Post

    post = Post(settings.webhook_ca)
    return Sender(store.webhooks, targets, secrets, post, ended_json, outcomes, traces=traces)


def store_of(settings: GatewaySettings) -> Store:
    """The store that the settings name; only its own library is loaded."""
    if settings.jobs_file:
        from inferencehub.gateway.jobs.sqlite.store import SqliteStore

        return SqliteStore(settings.jobs_file, settings.jobs_queue_length, settings.jobs_files_bytes)
    from inferencehub.gateway.jobs.valkey.store import ValkeyStore

    return ValkeyStore(
        settings.jobs_url(),
        settings.jobs_queue_length,
        authorities=settings.jobs_ca,
        files_bytes=settings.jobs_files_bytes,
    )
