"""Answers to scrapes: all metrics of a registry, sent in pieces between which the event loop runs.

One histogram is of one moment, and so is a line; the rest need not be. However many ask, the loop writes for one of them at
a time, and for `SLICE_S` at most before it does other work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from time import perf_counter

from prometheus_client.exposition import choose_encoder

from inferencehub.core.http1.handler import Reply, Request
from inferencehub.core.process.scrape.text import EOF, family_text
from inferencehub.core.process.scrape.written import Registry, Written

logger = logging.getLogger(__name__)

SLICE_S = 0.0005
OPENMETRICS = "application/openmetrics-text"


class Scrapes:
    """Answers scrapes of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._turn = asyncio.Lock()
        self._tasks: dict[Request, asyncio.Task[None]] = {}

    def begin(self, request: Request, reply: Reply) -> None:
        """Begin an answer, in the format that the request accepts."""
        task = asyncio.get_running_loop().create_task(self._answer(request, reply))
        self._tasks[request] = task
        task.add_done_callback(lambda _: self._tasks.pop(request, None))

    def left(self, request: Request) -> None:
        """Nobody waits for this answer any more."""
        task = self._tasks.get(request)
        if task is not None:
            task.cancel()

    async def _answer(self, request: Request, reply: Reply) -> None:
        # No name here has a character that needs to be escaped, so all ways to do it are one, but for the dots: it would
        # change underscores too.
        accept = request.head.fields.get(b"accept", b"").decode("latin-1").replace("escaping=dots", "")
        content_type = choose_encoder(accept)[1]
        pieces = all_text(self._registry, content_type.startswith(OPENMETRICS))
        drained = asyncio.Event()
        reply.start(200, b"content-type: %b\r\n" % content_type.encode())
        reply.drained = drained.set
        try:
            while True:
                async with self._turn:
                    data = some(pieces)
                    await asyncio.sleep(0)
                if data is None:
                    break
                drained.clear()
                if not reply.write(data):
                    await drained.wait()
            reply.end()
        except Exception:
            logger.exception("metrics can't be written")
            reply.abort()


def all_text(registry: Registry, openmetrics: bool) -> Iterator[str]:
    """The metrics of a registry as text, in pieces.

    Args:
        registry: has the metrics.
        openmetrics: see `Written.text`.
    """
    for collector in tuple(registry.collectors):
        if isinstance(collector, Written):
            yield from collector.text(openmetrics)
        else:
            for family in collector.collect():
                yield from family_text(family, openmetrics)
    if openmetrics:
        yield EOF


def some(pieces: Iterator[str]) -> bytes | None:
    """Pieces that take `SLICE_S` together, or a little more; None after the last one. They may be empty."""
    taken, until = [], perf_counter() + SLICE_S
    for piece in pieces:
        taken.append(piece)
        if perf_counter() >= until:
            break
    return "".join(taken).encode() if taken else None
