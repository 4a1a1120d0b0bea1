"""What a fetch may take, in bytes and seconds, and how it fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

TELL_S = 5.0  # between two lines of progress


class FetchError(Exception):
    """Models cannot be fetched; its text is a sentence that says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long a server is asked.

    Args:
        attempts: attempts in a row that bring no byte, before the fetch fails.
        pause_s: seconds before the second attempt; each further pause is twice as long.
        longest_pause_s: the longest pause, also where a server asks for more in Retry-After.
        stall_s: seconds without a byte after which a connection is given up.
    """

    attempts: int = 5
    pause_s: float = 1.0
    longest_pause_s: float = 30.0
    stall_s: float = 30.0

    def pause(self, failed: int, wanted_s: float = 0.0) -> float:
        """Seconds to wait after `failed` attempts in a row, if the server wants `wanted_s`."""
        return min(max(self.pause_s * 2.0 ** max(0, failed - 1), wanted_s), self.longest_pause_s)


class Budget:
    """The bytes and seconds that a fetch has, and what is left of them.

    Args:
        most_bytes: what may lie on the disk at the same time: the archive and what is unpacked.
        seconds: how long the whole fetch may take.
        alive: is called every `TELL_S` seconds while it goes on.
    """

    def __init__(self, most_bytes: int, seconds: float, alive: Callable[[], None] = lambda: None) -> None:
        self.most_bytes = most_bytes
        self.seconds = seconds
        self.alive = alive
        self.used = 0
        self._began = self._told = time.monotonic()

    def take(self, count: int, doing: str) -> None:
        """Use `count` bytes, and say about every `TELL_S` seconds how far it is.

        Args:
            count: bytes that are about to be written.
            doing: what is being done, for the log.

        Raises:
            FetchError: if bytes or seconds are used up.
        """
        self.expect(count)
        self.used += count
        self.check_time()
        now = time.monotonic()
        if now - self._told >= TELL_S:
            self._told = now
            self.alive()
            rate = round(self.used / 2**20 / (now - self._began), 1)
            logger.info(
                doing, extra={"bytes": self.used, "seconds": round(now - self._began), "mib_per_s": rate}
            )

    def expect(self, count: int) -> None:
        """Raise `FetchError` if there is no room for `count` more bytes."""
        if self.used + count > self.most_bytes:
            raise FetchError(
                f"the models need at least {self.used + count} bytes while they are fetched, an archive and its files, "
                f"and may have {self.most_bytes} (models.fetch.size)"
            )

    def give_back(self, count: int) -> None:
        """`count` bytes were removed from the disk."""
        self.used -= count

    def check_time(self) -> None:
        """Raise `FetchError` if the time is over."""
        if time.monotonic() - self._began > self.seconds:
            raise FetchError(
                f"it took longer than {self.seconds:g} s (models.fetch.timeoutSeconds); {self.used} bytes were there"
            )

    def wait(self, seconds: float) -> None:
        """Sleep before the next attempt.

        Raises:
            FetchError: if the time is over before.
        """
        self.alive()
        left = self._began + self.seconds - time.monotonic()
        time.sleep(max(0.0, min(seconds, left)))
        self.check_time()
