"""How many streams each caller has open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from inferencehub.core.values.errors import HubError, Kind

MOST_OF_ONE = 250  # streams of a kind that a caller may have open at a process


class Owned:
    """The open streams by their owners; "" owns any number."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def check(self, owner: str) -> None:
        """Check that an owner may open another one.

        Raises:
            HubError: BUSY if not.
        """
        if owner and self._open[owner] >= MOST_OF_ONE:
            raise HubError(Kind.BUSY, f"{owner} has {MOST_OF_ONE} streams open, which is the most")

    @contextmanager
    def one(self, owner: str) -> Iterator[None]:
        """A stream is open."""
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]
