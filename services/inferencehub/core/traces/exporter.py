"""Takes what calls leave behind, and sends it to a collector as spans, in a thread of its own.

The event loop only appends to a queue, which is bounded: what finds no place is dropped and counted. A collector that is
down, slow or refuses costs no call anything.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Sequence
from random import random
from time import monotonic, sleep
from typing import Any, Protocol

from inferencehub.core.process.metrics import TRACED
from inferencehub.core.traces.encoding import rejected
from inferencehub.core.traces.post import Answer

logger = logging.getLogger(__name__)

SENT, DROPPED, FAILED = TRACED
PAUSE_S = (0.5, 8.0)  # between attempts: the first and the longest
LOOK_S = 0.05  # between two looks whether the end has come
TELL_S = 60.0  # between two lines that say that a collector takes nothing
OVER = Answer(False, False, 0.0, "there was no time left")
AT_A_TIME = 128  # calls whose spans are made, in less than 1 ms, before the event loop's thread may go on


class Encoder(Protocol):
    """Makes a request of what calls have left; called in one thread."""

    def add(self, left: Sequence[Any]) -> None:
        """Add the spans of some calls to the next request."""

    def request(self) -> bytes:
        """The request, serialized; b"" if there is nothing to send. The next one begins."""


class Send(Protocol):
    """Sends a request to a collector."""

    def __call__(self, body: bytes, within_s: float) -> Answer:
        """See `Post`."""

    def close(self) -> None:
        """Nothing is sent any more."""


class Exporter:
    """See the module's text.

    Args:
        encoder: makes requests of what calls have left.
        send: sends it.
        most_waiting: calls that may wait.
        most_together: calls in a request.
        delay_s: seconds that few calls wait for others.
        within_s: seconds in which a request must be sent, with all attempts.
        counts: gets the number of calls by what became of their spans.
    """

    def __init__(
        self,
        encoder: Encoder,
        send: Send,
        most_waiting: int,
        most_together: int,
        delay_s: float,
        within_s: float,
        counts: Counter[str],
    ) -> None:
        self._encoder = encoder
        self._send = send
        self._most_waiting = most_waiting
        self._most_together = min(most_together, most_waiting)
        self._delay_s = delay_s
        self._within_s = within_s
        self.counts = counts
        self._waiting: deque[Any] = deque()
        self._wake = threading.Event()  # set if there is enough for a request, or the end has come
        self._ends: float | None = None  # when the thread must be done, on the clock of `time.monotonic`
        self._told = -TELL_S
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Calls whose spans wait."""
        return len(self._waiting)

    def put(self, left: Any) -> None:
        """Take what a call has left. Only the event loop's thread calls this."""
        waiting = self._waiting
        if len(waiting) >= self._most_waiting:
            self.counts[DROPPED] += 1
            return
        waiting.append(left)
        if len(waiting) == self._most_together:
            self._wake.set()

    def start(self) -> None:
        """Send from now on."""
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def close(self, within_s: float) -> None:
        """Send what waits, and wait for that at most so many seconds; this blocks."""
        self._ends = monotonic() + within_s
        self._wake.set()
        if self._thread is not None:
            self._thread.join(within_s)

    def _run(self) -> None:
        while self._ends is None:
            self._wake.wait(self._delay_s)
            self._wake.clear()
            self._send_all()
        self._send_all()  # what waited for a second look
        self._send.close()

    def _send_all(self) -> None:
        try:
            self._send_waiting()
        except Exception:  # the thread must not end before the process
            logger.exception("traces not sent")

    def _send_waiting(self) -> None:
        waiting = self._waiting
        while True:
            left = min(len(waiting), self._most_together)
            calls = 0
            while left:
                size = min(AT_A_TIME, left)
                left -= size
                calls += self._add([waiting.popleft() for _ in range(size)])
                sleep(0)  # it lets the lock go that all threads share
            # Also of no calls: what waits for more may have waited long enough.
            body = self._encoder.request()
            if body:
                self._send_body(body, calls)
            if not waiting:
                return

    def _add(self, left: Sequence[Any]) -> int:
        """Make the spans of some calls; returns the number of calls whose spans are to be sent."""
        try:
            self._encoder.add(left)
        except Exception:  # others have spans yet
            logger.exception("spans not made")
            self.counts[FAILED] += len(left)
            return 0
        return len(left)

    def _send_body(self, body: bytes, calls: int) -> None:
        began, pause_s = monotonic(), PAUSE_S[0]
        while True:
            left_s = self._left_s(began)
            answer = self._send(body, left_s) if left_s > 0 else OVER
            if answer.sent:
                spans, why = rejected(answer.body) if answer.body else (0, "")
                # Nobody says whose spans they are; at most so many calls have lost some.
                failed = min(calls, spans)
                self.counts[SENT] += calls - failed
                if spans:
                    self.counts[FAILED] += failed
                    self._tell(why)
                return
            wait_s = 0.0 if not answer.why else max(answer.after_s, pause_s * (0.5 + random() / 2))
            in_time = answer.again and wait_s < self._left_s(began)
            if not (in_time and self._pause(wait_s, answer.after_s)):
                self.counts[FAILED] += calls
                self._tell(answer.why)
                return
            if answer.why:
                pause_s = min(2 * pause_s, PAUSE_S[1])

    def _pause(self, seconds: float, asked_s: float) -> bool:
        """Wait. If the end of the process comes meanwhile, that leaves what the collector has asked for.

        Args:
            seconds: how long.
            asked_s: the part of them that the collector has asked for.

        Returns:
            Whether the collector may be asked again; False if the end comes before.
        """
        began, ending = monotonic(), self._ends is not None
        until = began + seconds
        while (left := until - monotonic()) > 0:
            if not ending and self._ends is not None:
                ending, until = True, began + asked_s
                if until >= self._ends:
                    return False
            else:
                sleep(min(left, LOOK_S))
        return True

    def _left_s(self, began: float) -> float:
        left = began + self._within_s - monotonic()
        return left if self._ends is None else min(left, self._ends - monotonic())

    def _tell(self, why: str) -> None:
        now = monotonic()
        if now - self._told >= TELL_S:
            self._told = now
            logger.warning("traces not sent", extra={"error": why or "the connection was closed"})
