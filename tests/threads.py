"""A machine that gives no thread any more, as where a container has reached its limit of processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

TOO_LARGE = 2**50  # bytes of a stack, more than there are addresses


@contextmanager
def no_new_threads() -> Iterator[None]:
    """No thread of this process can be started."""
    before = threading.stack_size(TOO_LARGE)
    try:
        yield
    finally:
        threading.stack_size(before)
