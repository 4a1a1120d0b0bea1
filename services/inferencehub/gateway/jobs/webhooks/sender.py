"""Delivers webhooks: takes those that are due from the store, a bounded number at a time, and says what came of them.

A host that gives no answer takes 10 s of a place for each attempt. So until it answers it has one place, and all such hosts
together have half of them: the others go on, whatever names a caller invents below one that is allowed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from random import random
from time import monotonic, time
from typing import Protocol

import msgspec

from inferencehub.core.process.tasks import cancelled, until
from inferencehub.core.values.errors import HubError
from inferencehub.gateway.calls.traces.ended import CallTraces
from inferencehub.gateway.jobs.record import JobRecord, Webhook
from inferencehub.gateway.jobs.webhooks.outbox import Outbox
from inferencehub.gateway.jobs.webhooks.retries import Answer, next_attempt
from inferencehub.gateway.jobs.webhooks.signing import Secrets, signed
from inferencehub.gateway.jobs.webhooks.targets import Target, Targets

logger = logging.getLogger(__name__)

LOOK_S = 1.0
LEASE_S = 30.0  # three times what an attempt takes at most
MOST, EACH = 64, 8  # deliveries at a time, in all and to one host
MOST_SILENT = MOST // 2  # of them to hosts that gave no answer the last time
REMEMBERED = 500  # of these hosts
AGAIN_S = 0.5  # between attempts to keep what came of one, while the store fails
DELIVERED, RETRIED, GIVEN_UP = "delivered", "retried", "given_up"


class Post(Protocol):
    """Sends one message."""

    async def __call__(self, target: Target, headers: dict[str, str], body: bytes) -> Answer:
        """What the receiver says."""

    def close(self) -> None:
        """Nothing is sent any more."""


class Sender:
    """See the module's text.

    Args:
        outbox: what is to be delivered.
        targets: where to; looked at again at each attempt, for the list may have changed.
        secrets: sign the messages.
        post: sends one.
        message: the body for a job that has ended.
        outcomes: counts attempts.
        look_s: seconds between two looks, while it has places for all that is due.
        traces: notes attempts whose traces are kept; None where there are no traces.
    """

    def __init__(
        self,
        outbox: Outbox,
        targets: Targets,
        secrets: Secrets,
        post: Post,
        message: Callable[[JobRecord], bytes],
        outcomes: Counter[str],
        look_s: float = LOOK_S,
        traces: CallTraces | None = None,
    ) -> None:
        self._outbox = outbox
        self._targets = targets
        self._secrets = secrets
        self._post = post
        self._message = message
        self._outcomes = outcomes
        self._look_s = look_s
        self._traces = traces
        self._running: set[asyncio.Task[None]] = set()
        self._of_host: Counter[str] = Counter()  # how many run
        self._silent: dict[str, None] = {}  # hosts whose last one got no answer, the newest last
        self._more = False  # whether more may be due than there was room for
        self._ending = False
        self._wake = asyncio.Event()
        self._taking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Deliver from now on."""
        self._taking = asyncio.get_running_loop().create_task(self._take())

    async def stop(self, grace_s: float) -> None:
        """Take no more, and wait for those that run, at most `grace_s` seconds. The others are due again after their lease."""
        self._ending = True
        self._wake.set()
        if self._taking is not None:
            await self._taking  # what it is about to take, it takes
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        await cancelled(list(self._running))
        self._post.close()

    async def _take(self) -> None:
        failing = False
        while not self._ending:
            self._wake.clear()
            try:
                if (free := MOST - len(self._running)) > 0:
                    places = self._places()
                    due = await self._outbox.claim(free, EACH, places, LEASE_S, time())
                    for record in due:
                        self._begin(record)
                    self._more = len(due) == free or used_up(due, places)
                failing = False
            except HubError as error:
                if not failing:
                    logger.warning("no webhooks delivered: the store fails", extra={"error": error.detail})
                failing = True
            except Exception:
                logger.exception("no webhooks taken")
            await until(self._wake, self._look_s)

    def _places(self) -> dict[str, int]:
        """How many more of a host may be taken, where it is not `EACH`."""
        places = {host: max(0, self._most(host) - count) for host, count in self._of_host.items()}
        left = MOST_SILENT - sum(self._of_host[host] for host in self._silent)
        for host in self._silent:
            places[host] = int(left > 0 and not self._of_host[host])
            left -= places[host]
        return places

    def _most(self, host: str) -> int:
        return 1 if host in self._silent else EACH

    def _begin(self, record: JobRecord) -> None:
        assert record.webhook is not None
        host = record.webhook.host
        self._of_host[host] += 1
        task = asyncio.get_running_loop().create_task(self._deliver(record, record.webhook))
        self._running.add(task)
        task.add_done_callback(lambda task: self._end(task, host))

    def _end(self, task: asyncio.Task[None], host: str) -> None:
        self._running.discard(task)
        self._of_host[host] -= 1
        if not self._of_host[host]:
            del self._of_host[host]
        if self._more:
            self._wake.set()

    async def _deliver(self, record: JobRecord, webhook: Webhook) -> None:
        began = monotonic()
        try:
            answer = await self._attempt(record, webhook)
        except HubError as error:  # it is in the list no more
            answer = Answer(0, error.detail, final=True)
        except Exception:
            logger.exception("webhook not sent", extra={"job": record.id})
            answer = Answer(0, "the gateway failed on it; its log says why")
        self._remember(webhook.host, answer)
        due = next_attempt(answer, webhook.attempts, time(), random())
        why = answer.error or ("" if answer.taken else f"it answered {answer.status}")
        state = "delivered" if answer.taken else "failed" if due is None else "pending"
        after = msgspec.structs.replace(webhook, state=state, status=answer.status, error=why)
        if await self._keep(record.id, after, due, began):
            self._tell(record, after, monotonic() - began)

    async def _attempt(self, record: JobRecord, webhook: Webhook) -> Answer:
        target = self._targets.of(webhook.url)
        body = self._message(record)
        headers = signed(self._secrets.all, f"{record.id}-{webhook.ends}", time(), body)
        if self._traces is None:
            return await self._post(target, headers, body)
        trace, began = self._traces.go_on(webhook.trace), monotonic()
        answer = await self._post(target, {**headers, **trace.headers}, body)
        self._traces.posted(trace, webhook.host, webhook.attempts, answer.status, began)
        return answer

    def _remember(self, host: str, answer: Answer) -> None:
        """Remember whether a host answers."""
        self._silent.pop(host, None)
        if not answer.status:
            self._silent[host] = None
            if len(self._silent) > REMEMBERED:
                del self._silent[next(iter(self._silent))]

    async def _keep(self, id: str, webhook: Webhook, due: float | None, began: float) -> bool:
        """Say in the store what came of an attempt. While that fails, it is tried again until the lease is over."""
        while monotonic() - began < LEASE_S:
            try:
                return await self._outbox.done(id, webhook, due)
            except HubError:
                await asyncio.sleep(AGAIN_S)
        return False

    def _tell(self, record: JobRecord, webhook: Webhook, took_s: float) -> None:
        outcome = {"delivered": DELIVERED, "failed": GIVEN_UP}.get(webhook.state, RETRIED)
        self._outcomes[outcome] += 1
        more = {
            "job": record.id,
            "request": webhook.request,
            "host": webhook.host,
            "attempts": webhook.attempts,
            "status": webhook.status,
            "error": webhook.error,
            "seconds": round(took_s, 3),
        }
        if webhook.state == "pending":
            logger.info("webhook not delivered yet", extra=more)
        elif webhook.state == "failed":
            logger.warning("webhook given up", extra=more)
        else:
            logger.info("webhook delivered", extra=more)


def used_up(due: list[JobRecord], places: Mapping[str, int]) -> bool:
    """Whether a host has no place left, so that more may be due there."""
    taken = Counter(record.webhook.host for record in due if record.webhook is not None)
    return 0 in places.values() or any(count == places.get(host, EACH) for host, count in taken.items())
