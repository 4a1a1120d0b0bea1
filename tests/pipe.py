"""A pipe between a test and the code under test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from typing import BinaryIO


@contextmanager
def pipe() -> Iterator[tuple[BinaryIO, FileIO]]:
    """Both ends; the one that is written to has no buffer."""
    ours, theirs = os.pipe()
    with open(ours, "rb") as reads, FileIO(theirs, "wb") as writes:
        yield reads, writes
