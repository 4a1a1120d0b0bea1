"""Runs the checks of a process side by side, and shows what they found: `GET /doctor` on the ops port.

The answer always has the status 200, for the question was answered: what is wrong is in it, as `verdict` and findings. A
probe that asks whether the process may get requests is `/readyz`.

Checks ask other processes, so each has a limit of time, all run at most once at a time, and what they found is kept for
some seconds: who asks often costs nobody anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic, time

import msgspec

from inferencehub import __version__
from inferencehub.core.process.doctor.finding import Finding, Report, as_text, report_of, warning
from inferencehub.core.process.ops_port import JSON, Answer, Asked
from inferencehub.core.process.tasks import cancelled

logger = logging.getLogger(__name__)

CHECK_S = 8.0  # how long a check may take; each of its questions has less
KEPT_S = 3.0  # how long its findings are shown again
TEXT = "text/plain; charset=utf-8"

Check = Callable[[], Awaitable[list[Finding]]]


class Doctor:
    """See the module's text.

    Args:
        tier: which process it looks at.
        checks: by what each looks at.
        check_s, kept_s: see `CHECK_S` and `KEPT_S`.
    """

    def __init__(
        self, tier: str, checks: Mapping[str, Check], check_s: float = CHECK_S, kept_s: float = KEPT_S
    ) -> None:
        self._tier = tier
        self._checks = dict(checks)
        self._check_s, self._kept_s = check_s, kept_s
        self._running: asyncio.Task[Report] | None = None
        self._last: Report | None = None
        self._ended = 0.0

    async def report(self) -> Report:
        """What is found now, or was found some seconds ago."""
        if self._last is not None and monotonic() - self._ended < self._kept_s:
            return self._last
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._look())
        return await asyncio.shield(self._running)  # who leaves takes nothing from the others who wait

    def forget(self) -> None:
        """Look anew when somebody asks next."""
        self._last = None

    async def page(self, asked: Asked) -> Answer:
        """GET /doctor: sentences for people, or JSON if that is asked for."""
        report = await self.report()
        if JSON in asked.accept:
            return 200, JSON, msgspec.json.encode(report)
        return 200, TEXT, as_text(report).encode()

    async def stop(self) -> None:
        """End what runs."""
        if self._running is not None:
            await cancelled([self._running])

    async def _look(self) -> Report:
        try:
            works = [self._check(what, check) for what, check in self._checks.items()]
            found = [one for part in await asyncio.gather(*works) for one in part]
            self._last, self._ended = report_of(self._tier, __version__, time(), found), monotonic()
            return self._last
        finally:
            self._running = None

    async def _check(self, what: str, check: Check) -> list[Finding]:
        """The findings of one check; it never raises."""
        try:
            async with asyncio.timeout(self._check_s):
                return await check()
        except TimeoutError:
            seen = f"nothing answered within {self._check_s:g} s"
            return [warning(what, seen, "Ask again; if it stays so, look at DNS and at network policies.")]
        except Exception:
            logger.exception("a check of the doctor failed", extra={"check": what})
            return [warning(what, "it could not be looked at", "The log of this process says why.")]
