"""Puts the pages of batches together, those of OpenAI's API too."""

from __future__ import annotations

from inferencehub.gateway.calls.submit import Calls
from inferencehub.gateway.http_api.batches.pages import BatchPages, uploads_of
from inferencehub.gateway.http_api.jobs.front import JobFront
from inferencehub.gateway.http_api.openai_batches.batches import OpenAIBatchPages
from inferencehub.gateway.http_api.openai_batches.files import FilePages
from inferencehub.gateway.metrics import FrontMetrics
from inferencehub.gateway.settings.gateway import GatewaySettings


def with_batches(front: JobFront, calls: Calls, settings: GatewaySettings, metrics: FrontMetrics) -> JobFront:
    """The jobs of a gateway, with the pages that make and show batches.

    Args:
        front: its jobs.
        calls: those of its other fronts.
        settings: how large a batch may be.
        metrics: those of jobs.
    """
    uploads = uploads_of(front, calls, settings, metrics)
    jobs, held, longest_ms = front.jobs, calls.table.bytes_held, settings.max_timeout_ms
    front.routes += [
        *BatchPages(jobs, uploads, longest_ms).routes(),
        *FilePages(jobs, held, front.threads).routes(),
        *OpenAIBatchPages(jobs, uploads, held, longest_ms).routes(),
    ]
    return front
